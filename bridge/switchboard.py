"""Call events in, legs out: the one place where a leg starts or ends.

It follows the PBX's channels, decides which of them are legs, and has one tap and one desk for each. On every
(re)connect it compares what it runs with what the PBX has: live calls are adopted, strays of ours removed. No
audio and no transcript passes here.
"""

import asyncio
import time
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count

import structlog

from bridge import events, metrics
from bridge.admission import Admission
from bridge.desk import DeskLost, Desks
from bridge.events import LegEvents
from bridge.live import Call, Live
from bridge.pbx import Pbx
from bridge.tap import Tap, TapSettings, tap_prefix
from bridge.types import CallId, Event, LegId, NewLeg, Party, Role
from bridge.wire import pbxevents as wire
from bridge.wire.cost import Price, Spending
from bridge.wire.ledger import Ledger
from bridge.wire.pbxclock import PbxClock
from bridge.wire.pbxevents import Connected, Disconnected, Gone, PbxRefused, PbxUnreachable
from bridge.wire.roster import (
    AnswerLeg,
    Decision,
    EndLeg,
    EndTap,
    LookUp,
    Mark,
    Pass,
    RemoveStray,
    Roster,
    StartLeg,
)
from bridge.wire.rtpbudget import RtpBudget
from bridge.wire.rules import CallRule

_log = structlog.get_logger()

MARK = "RTZR_CALL"
"""The variable that the dialplan's one line leaves on the announcing channel and on those it dials."""
_COMPARE_AGAIN_S = 1.0
_ROOM_AGAIN_S, _MOST_ROOM_AGAIN_S = 5.0, 60.0
"""Until live calls for which there was no room at a connect are tried once more, and ever more seldom."""
_MEMBERS_S = 0.3
"""Dial() calls all members of a ring group within this; only a lone one gets a session ahead of time."""


@dataclass(frozen=True, slots=True)
class SwitchboardSettings:
    taps: TapSettings
    user_event: str
    early_media: bool
    preopen: bool
    max_legs: int = 0
    prices: tuple[Price, ...] = ()
    rules: tuple[CallRule, ...] = ()
    trunks: tuple[str, ...] = ()
    rtp: RtpBudget | None = None


class Switchboard:
    """Legs by channel id, calls by call id."""

    def __init__(
        self,
        pbx: Pbx,
        desks: Desks,
        settings: SwitchboardSettings,
        publish: Callable[[Event], None],
        mix_when: Callable[[int], bool] | None = None,
    ) -> None:
        """`mix_when`: whether, of so many answered legs, the last is to share its call's other stream."""
        self._pbx = pbx
        self._desks = desks
        self._mix_when = mix_when
        self._settings = settings
        self._publish = publish
        self._roster = Roster(
            settings.user_event, tap_prefix(settings.taps.app), settings.rules, settings.trunks
        )
        self._admission = Admission(
            desks,
            settings.max_legs,
            publish,
            rtp=settings.rtp,
            channels=lambda: self._roster.speaking,
            slow=pbx.slow,
        )
        self._clock = PbxClock(time.time(), asyncio.get_running_loop().time())
        self._live: dict[str, Live] = {}
        self._calls: dict[CallId, Call] = {}
        self._spending = Spending(settings.prices)
        self._draining = self._coming_back = False
        self._room_again_s = _ROOM_AGAIN_S
        self._connection = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._tasks = asyncio.TaskGroup()

    @property
    def legs(self) -> int:
        """How many legs run now."""
        return len(self._live)

    @property
    def refused(self) -> Mapping[str, int]:
        """Calls that were refused for want of room, by the reason."""
        return self._admission.refused

    async def run(self) -> None:
        """Follow the PBX until cancelled."""
        async with self._tasks:
            async for event in self._pbx.events():
                self._take(event)

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

    # Decisions.

    def _take(self, event: wire.PbxEvent | Connected | Disconnected) -> None:
        if isinstance(event, Connected):
            self._connection += 1
            self._room_again_s = _ROOM_AGAIN_S
            self._admission.learn_ports(event.pbx.rtp_range)
            self._spawn(self._reconcile())
        elif isinstance(event, Disconnected):
            self._roster.lost()
        else:
            self._clock.observe(event.at, asyncio.get_running_loop().time())
            self._carry_out(self._roster.take(event))

    def _carry_out(self, decisions: Iterable[Decision]) -> None:
        for decision in decisions:
            match decision:
                case StartLeg():
                    self._start(decision)
                case AnswerLeg(channel, at_s):
                    self._answer(channel, at_s)
                case EndLeg(channel, cause):
                    self._end(channel, cause)
                case EndTap(channel):
                    self._end_tap(channel)
                case RemoveStray(channel):
                    self._spawn(self._remove(channel))
                case LookUp(channel, rule):
                    self._spawn(self._look_up(channel, rule))
                case Pass(channel, choice):
                    _log.info("call passed", channel=channel, rule=choice.rule, reason=choice.reason)

    async def _reconcile(self) -> None:
        """Compare what runs here with what the PBX has: it repeats nothing that was missed."""
        connection = self._connection
        for attempt in count():
            try:
                known = self._roster.known(self._taps())
                channels = await self._pbx.channels()
                marks = await asyncio.gather(*(self._mark(channel) for channel in channels))
                found = {c.id: mark for c, mark in zip(channels, marks, strict=True) if mark is not None}
                families = await self._families([one for one in channels if one.id not in found])
                break
            except (PbxRefused, PbxUnreachable, wire.PbxError) as error:
                _log.warning("live calls not compared", reason=_told(error), attempt=attempt)
                await asyncio.sleep(_COMPARE_AGAIN_S)
            if connection != self._connection:
                return  # a later connection compares anew
        self._carry_out(self._roster.reconcile(channels, found, known, self._taps(), families))

    async def _families(self, channels: Sequence[wire.Channel]) -> dict[str, CallId]:
        """The linkedids of channels that nobody has marked; only rules could choose their calls."""
        if not self._settings.rules:
            return {}
        asked = [self._pbx.variable(channel.id, "CHANNEL(linkedid)") for channel in channels]
        linkedids = await asyncio.gather(*asked)
        return {one.id: linkedid for one, linkedid in zip(channels, linkedids, strict=True) if linkedid}

    def _taps(self) -> frozenset[str]:
        """Our own channels that are in use."""
        return frozenset(live.tap.id for live in self._live.values() if live.tap is not None)

    async def _mark(self, channel: wire.Channel) -> Mark | None:
        try:
            return Mark.read(await self._pbx.variable(channel.id, MARK))
        except (PbxRefused, wire.PbxError) as error:
            _log.warning("channel not read", reason=_told(error))
            return None

    async def _look_up(self, channel: wire.Channel, rule: str | None) -> None:
        linkedid: CallId | None = None
        try:
            linkedid = await self._pbx.variable(channel.id, "CHANNEL(linkedid)") or channel.id
        except (PbxRefused, PbxUnreachable):
            if channel.local:  # it may be of a call that is followed already
                raise
            linkedid = channel.id  # as it is for whoever calls from a telephone
        finally:
            if rule is not None:
                self._carry_out(self._roster.chosen(channel, linkedid, rule))
        if rule is None:
            self._carry_out(self._roster.start(channel, linkedid, Role.CALLER))

    async def _remove(self, channel: str) -> None:
        _log.info("stray tap removed", tap=channel)
        await self._pbx.hangup(channel)

    # Legs.

    def _start(self, start: StartLeg) -> None:
        if self._draining:
            return
        call, channel = self._call(start), start.channel
        if call is None:
            self._turn_away(start)
            return
        self._admission.began(call.id)
        party = Party(start.role, channel.number, channel.caller_name)
        flaws = ("joined late",) if start.late else ()
        live = Live(NewLeg(LegId(call.id, channel.id), party, call.origin_s, flaws, call.rule))
        self._live[channel.id] = live
        self._idle.clear()
        call.live += 1
        call.legs += 1
        metrics.LEGS_STARTED.inc()
        self._ready(live)
        self._spawn(self._run(live, call))

    def _call(self, start: StartLeg) -> Call | None:
        """The call of a leg that is to begin; None when there is no room for it."""
        call = self._calls.get(start.call)
        if call is None:
            created_s = self._roster.created_s(start.call, start.channel)
            call = Call(start.call, self._clock.monotonic(created_s), start.rule)
            if not self._admission.admits(call.id, call.now_ms(), self.legs, again=start.late):
                return None
            self._calls[call.id] = call
            self._publish(events.call_started(call.id, call.now_ms(), call.rule))
        return call

    def _turn_away(self, start: StartLeg) -> None:
        """A call that was live before us is asked for again: after a start all come at once, and the door
        learns only then what a leg costs."""
        if not start.late:
            return
        self._roster.forget(start.channel.id)
        if not self._coming_back:
            self._coming_back = True
            self._spawn(self._come_back())

    async def _come_back(self) -> None:
        await asyncio.sleep(self._room_again_s)
        self._room_again_s = min(2 * self._room_again_s, _MOST_ROOM_AGAIN_S)
        self._coming_back = False
        await self._reconcile()

    def _ready(self, live: Live) -> None:
        """What the leg may begin with before its answer."""
        if self._settings.early_media:
            live.answer(0.0)
        elif self._settings.preopen:
            asyncio.get_running_loop().call_later(_MEMBERS_S, self._prepare, live)

    def _prepare(self, live: Live) -> None:
        """Open ahead of the answer, but never for one of several that ring."""
        ringing = [
            other
            for other in self._live.values()
            if other.leg.call == live.leg.call
            and other.new.party.role is live.new.party.role
            and other.answered_ms is None
        ]
        if ringing == [live]:
            live.prepare()

    async def _run(self, live: Live, call: Call) -> None:
        """The leg to its end, at another desk if one is lost."""
        try:
            while not await self._hear(live, call):
                _log.warning("leg's process lost; taken up by another", leg=str(live.leg))
                live.new = replace(live.new, flaws=(*live.new.flaws, "worker lost"))
        finally:
            self._forget(live, call)

    async def _hear(self, live: Live, call: Call) -> bool:
        """The leg at one desk; whether it is over."""
        desk = await self._desks.begin(live.new)
        tap = Tap(live.leg.channel, desk, self._pbx, self._settings.taps)
        live.sit(desk, tap)
        if live.answered_ms is not None:
            self._mix(live, call)
        live.catch_up()
        tapping = asyncio.create_task(_guarded(tap.run()))
        try:
            await desk.run()
        except DeskLost:
            self._tell_lost(live, call)
            return live.cause is not None
        finally:
            call.add(desk.report)
            metrics.bump(desk.report.ledger.fates(), metrics.AUDIO_MS)
            live.leave()
            tap.hang_up(live.cause or "failed")
            await tapping
        return True

    def _tell_lost(self, live: Live, call: Call) -> None:
        """What a leg was told of is known, what it had in hand is not: it ends here, with that said."""
        ended = LegEvents(live.leg, live.new.party, call.now_ms())
        self._publish(ended.ended("worker lost", Ledger(), ["worker lost"]))

    def _answer(self, channel: str, at_s: float | None) -> None:
        live = self._live.get(channel)
        if live is not None:
            call = self._calls[live.leg.call]
            at_ms = None if at_s is None else (self._clock.monotonic(at_s) - call.origin_s) * 1000
            if live.desk is not None:
                self._mix(live, call)
            live.answer(call.now_ms() if at_ms is None else at_ms)

    def _mix(self, live: Live, call: Call) -> None:
        """With `mix_legs`, a leg for which there is no session goes into the stream of its call's other one.

        Decided once a desk, at the answer: what was said before two streams became one has no place in it.
        """
        others = [one for one in self._live.values() if one is not live and one.answered_ms is not None]
        streams = 1 + sum(not other.mixed for other in others)
        if self._mix_when is None or not self._mix_when(streams) or live.mixes or live.mixed:
            return
        for host in others:
            if host.leg.call == call.id and host.desk and not (host.mixes or host.mixed or host.cause):
                host.mixes = live.mixed = True
                self._desks.mix(host.leg, live.leg)
                _log.warning("legs mixed", leg=str(live.leg), into=str(host.leg))
                return

    def _end(self, channel: str, cause: str) -> None:
        live = self._live.get(channel)
        if live is not None:
            live.end(cause)

    def _end_tap(self, tap: str) -> None:
        for live in self._live.values():
            if live.tap is not None and live.tap.id == tap:
                live.tap.ended()

    def _forget(self, live: Live, call: Call) -> None:
        self._live.pop(live.leg.channel, None)
        self._roster.forget(live.leg.channel)
        call.live -= 1
        if not call.live:
            self._calls.pop(call.id, None)
            self._admission.over(call.id)
            self._tell_end(call)
        if not self._live:
            self._idle.set()

    def _tell_end(self, call: Call) -> None:
        cost = self._spending.add(call.ledger, time.strftime("%Y-%m-%d"))
        today = self._spending.today
        _log.info("call ended", call=call.id, won=round(cost.won, 2), today_won=round(today.won))
        ended = events.call_ended(call.id, call.now_ms(), call.ledger, call.legs, call.reasons, cost)
        self._publish(ended)

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        """Run something beside the events; a request that fails is told and harms nothing else."""
        self._tasks.create_task(_guarded(work))


def _told(error: Exception) -> str:
    return f"{type(error).__name__} {error}".strip()


async def _guarded(work: Coroutine[None, None, None]) -> None:
    try:
        await work
    except (PbxRefused, PbxUnreachable, Gone, wire.PbxError) as error:
        _log.warning("request to the pbx failed", reason=_told(error))
    except Exception:
        _log.exception("failed beside the events")
