"""Call events in, legs out: the one place where a leg starts or ends.

It follows the PBX's channels, decides which of them are legs, and has one tap and one desk for each. On every
(re)connect it compares what it runs with what the PBX has: live calls are adopted, strays of ours removed. No
audio and no transcript passes here.
"""

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from itertools import count
from uuid import UUID

import structlog

from bridge import events, metrics
from bridge.calls.admission import Admission
from bridge.calls.bills import Bills
from bridge.calls.census import census, family
from bridge.calls.comeback import ComeBack
from bridge.calls.errands import Errands, give_back, guarded, told
from bridge.calls.live import Call, Live, rings_alone
from bridge.calls.pauses import Pauses
from bridge.calls.ports import PortsOfPbx
from bridge.calls.sharing import Sharing
from bridge.calls.switchsettings import SwitchboardSettings
from bridge.calls.tap import Tap
from bridge.calls.visit import Visit
from bridge.calls.ways import Ways
from bridge.events import LegEvents
from bridge.leg.desk import DeskLost, Desks
from bridge.pbx import Pbx
from bridge.types import CallId, Event, LegId, NewLeg, Role, Transport
from bridge.watching.pbxnotes import PbxNotes
from bridge.wire import pbxevents as wire
from bridge.wire.decisions import (
    AnswerLeg,
    Decision,
    EndLeg,
    EndTap,
    GiveBack,
    KnowParty,
    LookUp,
    Merge,
    StartLeg,
)
from bridge.wire.ledger import Ledger
from bridge.wire.pbxclock import PbxClock
from bridge.wire.pbxevents import Connected, Disconnected, PbxRefused, PbxUnreachable
from bridge.wire.roster import Roster
from bridge.wire.taporder import TapKind, tap_prefix
from bridge.wire.wishes import By

__all__ = ["Switchboard", "SwitchboardSettings"]
_log = structlog.get_logger()

_COMPARE_AGAIN_S = 1.0
_MEMBERS_S = 0.3
"""Dial() calls all members of a ring group within this; only a lone one gets a session ahead of time."""


class Switchboard:
    """Legs by channel id, calls by call id."""

    def __init__(
        self,
        pbx: Pbx,
        desks: Desks,
        settings: SwitchboardSettings,
        publish: Callable[[Event], None],
        mix_when: Callable[[int], bool] | None = None,
        notes: PbxNotes | None = None,
    ) -> None:
        """`mix_when`: as of `Sharing`; `notes`: for who watches."""
        self._notes = notes or PbxNotes()
        self._pbx = pbx
        self._desks = desks
        self._sharing = Sharing(desks, mix_when, stereo=settings.ways.kind is TapKind.STEREO)
        self._settings = settings
        self._publish = publish
        self._ways = Ways(pbx, settings.ways)
        app = settings.taps.app
        self._roster = Roster(settings.user_event, tap_prefix(app), settings.rules, settings.trunks, app)
        self._admission = Admission(
            desks,
            settings.max_legs,
            publish,
            rtp=settings.rtp,
            channels=lambda: self._roster.speaking,
            taps=lambda: sum(live.transport is Transport.RTP for live in self._live.values()),
            slow=pbx.slow,
        )
        self._clock = PbxClock(time.time(), asyncio.get_running_loop().time())
        self._bills = Bills(settings.prices, publish)
        self._draining = False
        self._connection = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._errands = Errands(pbx)
        self._come_back = ComeBack(self._errands.send, self._reconcile)
        self.pauses = Pauses(pbx, desks, settings.wishes, settings.consent, publish, self._errands.send)
        self._live, self._calls = self.pauses.live, self.pauses.calls
        self._ports = PortsOfPbx(pbx, self._admission.learn_ports, self._rtp_untold)
        self._visits: dict[str, UUID] = {}
        """By channel id, calls that the dialplan sends to us."""

    @property
    def legs(self) -> int:
        """How many legs run now."""
        return len(self._live)

    @property
    def leg_ids(self) -> list[str]:
        """`call/channel` of each."""
        return [str(live.leg) for live in self._live.values()]

    @property
    def refused(self) -> Mapping[str, int]:
        """Calls that were refused for want of room, by the reason."""
        return self._admission.refused

    async def run(self) -> None:
        """Follow the PBX until cancelled."""
        async with self._errands.tasks as tasks:
            tasks.create_task(self._reap())
            async for event in self._pbx.events():
                await self._ports.before(event)
                self._take(event)

    async def _reap(self) -> None:
        """Taps that do not clean up by themselves are looked after by the minute."""
        while self._settings.ways.kind is TapKind.EXTERNAL:
            await asyncio.sleep(self._settings.reap_s)
            await self._reconcile()

    def adopt(self, settings: SwitchboardSettings) -> None:
        """Another YAML: for what begins from now on. How taps are made stays as it is."""
        self._settings = settings
        self._roster.selection.choose_by(settings.rules, settings.trunks)
        self._admission.max_legs = settings.max_legs
        self._bills.adopt(settings.prices)
        self.pauses.adopt(settings.consent)

    def tapped(self, channel: str) -> bool | None:
        """As `visit.Host`."""
        live = self._live.get(channel)
        return None if live is None else isinstance(live.tap, Tap)

    def host(self, channel: wire.Channel, linkedid: CallId, key: UUID) -> bool:
        """As `visit.Host`."""
        self._visits[channel.id] = key
        self._carry_out(self._roster.announced(channel, linkedid))
        if not (hosted := channel.id in self._live):
            del self._visits[channel.id]
        return hosted

    async def drain(self, patience_s: float) -> None:
        """No new legs; live ones go on for `patience_s`, then their streams end and are worked off."""
        self._draining = True
        try:
            async with asyncio.timeout(patience_s):
                await self._idle.wait()
        except TimeoutError:
            for live in self._live.values():
                live.end("bridge stopped")
        await self._idle.wait()

    async def leave(self) -> None:
        """Once nothing is followed any more: who waits in our application would wait for ever."""
        await guarded(give_back(self._pbx, self._roster.guests.stays))

    def pause(self, call: CallId, paused: bool, by: By = By.COMMAND, who: str = "") -> bool:
        """Nothing of it leaves this host from now on, or it does again; whether there is such a call. `who`:
        as of `events.call_paused`."""
        return self.pauses.order(call, paused, by, who)

    # Decisions.

    def _take(self, event: wire.PbxEvent | Connected | Disconnected) -> None:
        if isinstance(event, Connected):
            self._connection += 1
            self._ways.settle(event.pbx)
            if event.pbx.clock is not None:
                self._clock.shows(event.pbx.clock, asyncio.get_running_loop().time())
            self._come_back.soon()
            self._errands.send(self._reconcile())
        elif isinstance(event, Disconnected):
            self._roster.lost()
        else:
            self._clock.observe(event.at, asyncio.get_running_loop().time())
            self.pauses.take(event)
            self._carry_out(self._roster.take(event))
        self._notes.take(event, self._live)

    def _carry_out(self, decisions: Iterable[Decision]) -> None:
        for decision in decisions:
            match decision:
                case StartLeg():
                    self._start(decision)
                case AnswerLeg(channel, at_s):
                    self._answer(channel, at_s)
                case KnowParty(channel):
                    self._know(channel)
                case EndLeg(channel, cause):
                    self._end(channel, cause)
                case EndTap(tap):
                    self._end_tap(tap)
                case Merge(call, into):
                    self._merge(call, into)
                case LookUp():
                    self._errands.send(self._look_up(decision))
                case _:
                    self._errands.let_be(decision)

    async def _reconcile(self) -> None:
        """Compare what runs here with what the PBX has: it repeats nothing that was missed."""
        connection = self._connection
        for attempt in count():
            asked = self.pauses.asked()
            try:
                taps = [live.tap.standing for live in self._live.values() if live.tap is not None]
                known = self._roster.known(filter(None, taps))
                found = await census(self._pbx, rules=bool(self._settings.rules))
                await self._ports.ask(found.channels)
                break
            except (PbxRefused, PbxUnreachable, wire.PbxError) as error:
                _log.warning("live calls not compared", reason=told(error), attempt=attempt)
                await asyncio.sleep(_COMPARE_AGAIN_S)
            if connection != self._connection:
                return  # a later connection compares anew
        self.pauses.found(found.pauses, {channel.id for channel in found.channels}, asked)
        self._carry_out(self._roster.reconcile(found, known, self._taps()))

    def _rtp_untold(self) -> bool:
        return self._settings.rtp is None and self._ways.transport is Transport.RTP

    def _taps(self) -> frozenset[str]:
        """Our own channels that are in use."""
        return frozenset(live.tap.id for live in self._live.values() if live.tap is not None)

    async def _look_up(self, asked: LookUp) -> None:
        channel, linkedid = asked.channel, await family(self._pbx, asked.channel)
        if asked.rule is not None or asked.leads:
            self._carry_out(self._roster.chosen(channel, linkedid, asked.rule))
        elif linkedid is not None:
            self._carry_out(self._roster.start(channel, linkedid, Role.CALLER, found=asked.late))
        if linkedid is None:
            self._let_go(channel.id)

    def _let_go(self, channel: str) -> None:
        """It is not heard: if it waits with us, it goes on."""
        if channel in self._roster.guests.here:
            self._errands.let_be(GiveBack(channel))

    def _merge(self, call: CallId, into: CallId) -> None:
        if (merged := self._calls.get(call)) is not None:
            _log.info("calls merged", call=call, into=into)
            self._publish(events.call_merged(call, into, merged.now_ms()))

    # Legs.

    def _start(self, start: StartLeg) -> None:
        channel = start.channel
        call = None if self._draining else self._call(start)
        if call is None:
            self._turn_away(start)
            return
        self._admission.began(call.id)
        flaws = ("joined late",) if start.late else ()
        new = NewLeg(LegId(call.id, channel.id), channel.party(start.role), call.origin_s, flaws, call.rule)
        live = Live(new, self._transport(channel.id), tell=self._notes.tell)
        live.note("joined late" if start.late else "calls" if start.role is Role.CALLER else "is called")
        self._live[channel.id] = live
        self.pauses.joins(live)
        self._idle.clear()
        call.live += 1
        call.legs += 1
        metrics.LEGS_STARTED.inc()
        self._ready(live)
        self._errands.send(self._run(live, call))

    def _call(self, start: StartLeg) -> Call | None:
        """The call of a leg that is to begin; None when there is no room for it."""
        call = self._calls.get(start.call)
        if call is None:
            created_s = self._roster.created_s(start.call, start.channel)
            call = Call(start.call, self._clock.monotonic(created_s), start.rule)
            transport = self._transport(start.channel.id)
            if not self._admission.admits(call.id, call.now_ms(), self.legs, transport, again=start.late):
                return None
            self._calls[call.id] = call
            self._publish(events.call_started(call.id, call.now_ms(), call.rule))
            self.pauses.begins(call, start.channel.id)
        return call

    def _transport(self, channel: str) -> Transport:
        """By which a leg that begins now would be heard."""
        return (self._ways.visited if channel in self._visits else self._ways).transport

    def _turn_away(self, start: StartLeg) -> None:
        """Who was sent to us to stay goes on; who was live before us is asked for again."""
        self._roster.guests.turn_away(start.channel.id)
        self._let_go(start.channel.id)
        if start.late and not self._draining:
            self._roster.forget(start.channel.id)
            self._come_back.again()

    def _ready(self, live: Live) -> None:
        """What the leg may begin with before its answer."""
        if self._settings.early_media:
            live.answer(0.0)
        elif self._settings.preopen:
            asyncio.get_running_loop().call_later(_MEMBERS_S, self._prepare, live)

    def _prepare(self, live: Live) -> None:
        """Open ahead of the answer, but never for one of several that ring."""
        if rings_alone(live, self._live.values()):
            live.prepare()

    async def _run(self, live: Live, call: Call) -> None:
        """The leg to its end, at another desk if one is lost."""
        structlog.contextvars.bind_contextvars(call=call.id)
        try:
            while not await self._hear(live, call):
                _log.warning("leg's process lost; taken up by another", leg=str(live.leg))
                live.new = replace(live.new, flaws=(*live.new.flaws, "worker lost"))
            self._let_go(live.leg.channel)
        finally:
            self._forget(live, call)

    async def _hear(self, live: Live, call: Call) -> bool:
        """The leg at one desk; whether it is over."""
        visit = self._visits.pop(live.leg.channel, None)
        way = await self._ways.of(live.leg.channel) if visit is None else self._ways.visited
        live.new, live.transport = replace(live.new, codec=way.codec, paused=call.paused), way.transport
        desk = await self._desks.begin(live.new)
        if call.paused is not live.new.paused:
            self._desks.pause(call.id, call.paused)
        if visit is not None:
            tap: Tap | Visit = Visit(str(visit), desk)
        else:
            told = live.could_speak_s, live.note
            tap = Tap(live.leg.channel, desk, self._pbx, way, self._settings.taps, *told)
        live.sit(desk, tap)
        if live.answered_ms is not None:
            self._sharing.share(live, call, self._live.values())
        live.catch_up()
        tapping = asyncio.create_task(guarded(tap.run()))
        try:
            await desk.run()
        except DeskLost:
            live.note("the process that heard it is lost")
            self._tell_lost(live)
            return live.cause is not None
        finally:
            call.add(desk.report)
            live.leave()
            tap.hang_up(live.cause or "failed")
            await tapping
        return True

    def _tell_lost(self, live: Live) -> None:
        """What a leg was told of is known, what it had in hand is not: it ends here, with that said."""
        ended = LegEvents(live.leg, live.new.party)
        self._publish(ended.ended("worker lost", Ledger(), ["worker lost"]))

    def _answer(self, channel: str, at_s: float | None) -> None:
        if (live := self._live.get(channel)) is not None:
            call = self._calls[live.leg.call]
            at_ms = None if at_s is None else (self._clock.monotonic(at_s) - call.origin_s) * 1000
            if live.desk is not None:
                self._sharing.share(live, call, self._live.values())
            live.answer(call.now_ms() if at_ms is None else at_ms)

    def _know(self, channel: wire.Channel) -> None:
        if (live := self._live.get(channel.id)) is not None:
            live.know(channel.party(live.new.party.role))

    def _end(self, channel: str, cause: str) -> None:
        if (live := self._live.get(channel)) is not None:
            live.end(cause)

    def _end_tap(self, tap: str) -> None:
        for live in self._live.values():
            if live.tap is not None and live.tap.id == tap:
                live.tap.ended()

    def _forget(self, live: Live, call: Call) -> None:
        self._live.pop(live.leg.channel, None)
        self._roster.forget(live.leg.channel)
        self._sharing.over(live, self._live.values())
        call.live -= 1
        if not call.live:
            self._calls.pop(call.id, None)
            self._admission.over(call.id)
            self._bills.close(call)
        if not self._live:
            self._idle.set()
