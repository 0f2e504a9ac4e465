"""Where a leg is heard: its port, its ring and its coroutine at one desk; here, those of this process.

The switchboard and the tap know a leg's desk by `Desk` alone, and not in which process it stands. No PBX and
no decision about a call here.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

import structlog

from bridge.leg.call import Leg, LegReport
from bridge.leg.desksettings import DeskSettings
from bridge.leg.inlets import Inlet, Inlets, Listener, Place
from bridge.leg.permit import Speech
from bridge.leg.ring import Ring
from bridge.spool.spool import LegSpool, Spool
from bridge.types import CallId, Event, Frame, LegId, NewLeg, Party, Transport
from bridge.wire.door import Door, Refusal
from bridge.wire.watched import LegSnapshot, Note, NoteKind, Tell, unheard

_log = structlog.get_logger()


class DeskLost(Exception):
    """The desk is gone with its process, and what was heard there."""


class Desk(Protocol):
    """One leg's."""

    @property
    def report(self) -> LegReport:
        """What is known of the leg's end; of a desk that was lost, only that."""
        ...

    async def run(self) -> None:
        """The leg, to its end. Raises DeskLost."""
        ...

    async def open_inlet(self, transport: Transport, key: str = "") -> Place:
        """Where the leg's audio is to be sent; with a `key` of the PBX's own, the leg ends with the stream.
        Raises NoInlet and DeskLost, as those below."""
        ...

    async def lock(self, address: str, port: int) -> None:
        """Only this source is heard from now on."""
        ...

    async def reach(self, url: str) -> None:
        """Connect to where the PBX waits for us."""
        ...

    async def over(self) -> bool:
        """Wait until what the PBX connected has ended without being asked to; whether it was closed in order.
        Returns, too, when the inlet is closed."""
        ...

    async def close_inlet(self) -> None:
        """Read it empty and let go of it."""
        ...

    def prepare(self) -> None:
        """The answer is near."""

    def know(self, party: Party) -> None:
        """Who speaks is known better now."""

    def answer(self, at_ms: float) -> None:
        """The leg was answered at call time `at_ms`."""

    def flaw(self, reason: str) -> None:
        """Something is missing from the stream."""

    def end(self, cause: str) -> None:
        """No audio will come any more; what came is worked off."""


@dataclass(slots=True)
class Counts:
    """What desks count; the fates are those of RTP packets, and of connections to the media servers."""

    sessions_open: int = 0
    sessions_opened: int = 0
    fates: Mapping[str, int] = field(default_factory=dict)
    """What has grown since this was asked last, as the next one."""
    audio: Mapping[str, float] = field(default_factory=dict)
    """Milliseconds, as `Ledger.fates` names them."""
    backlog_ms: float = 0.0
    """Of the leg that has most audio that was not sent yet."""
    processes: Mapping[str, int] = field(default_factory=dict)
    """Ids of the processes of other desks than the daemon's own, by their names."""


class Desks(Protocol):
    """All desks, wherever they stand."""

    async def begin(self, new: NewLeg) -> Desk:
        """A desk for a leg; waits while there can be none."""
        ...

    def mix(self, host: LegId, guest: LegId) -> None:
        """From now on the guest's audio goes out in the host's stream too."""

    def pair(self, host: LegId, guest: LegId) -> None:
        """From now on the second channel of the host's tap is the guest's audio."""

    def admit(self, call: CallId, legs: int) -> Refusal | None:
        """Why so many legs of a call that is new are not to be begun; None when they may be: places for them
        are kept for a while."""
        ...

    def pause(self, call: CallId, paused: bool) -> None:
        """From now on no audio of the call leaves the host, or it does again."""

    def over(self, call: CallId) -> None:
        """The call has no legs any more, and needs no place."""

    def counts(self) -> Counts: ...


class LocalDesk:
    """A desk in this process."""

    def __init__(self, new: NewLeg, desks: "LocalDesks") -> None:
        self.settings = settings = desks.settings_of(new.leg.call)
        self._new = new
        self._desks = desks
        self.now_ms = _clock(new.origin_s)
        """Call time now."""
        self._cause = "unknown"
        self._codec = codec = new.codec or settings.codec
        self.other: Ring | None = None
        """Who takes the second channel of a tap in stereo."""
        self._inlet: Inlet | None = None
        self._over: asyncio.Future[bool] | None = None
        """Of the inlet that is open: that nothing comes by it any more."""
        self._counted: tuple[int, ...] = ()
        self._audio_told: dict[str, float] = {}
        self.ring = Ring(codec, settings.ring_ms)
        if new.paused:
            self.ring.pause()
        for reason in new.flaws:
            self.ring.flaw(reason)
        self._leg = Leg(
            new.leg,
            new.party,
            codec,
            self.ring,
            desks.speech,
            settings.of(new.rule),
            clock=self.now_ms,
            publish=desks.publish,
            spool=self._spool(desks),
            tell=desks.tell,
        )

    def _spool(self, desks: "LocalDesks") -> LegSpool | None:
        """Where the leg's audio stands until it was told, if any may touch the disk."""
        if desks.spool is None:
            return None
        began = desks.unix() - self.now_ms() / 1000
        return desks.spool.leg(self._new.leg, self._new.party, self._codec, began, self._new.rule)

    @property
    def report(self) -> LegReport:
        return self._leg.report

    async def run(self) -> None:
        """What goes wrong in one leg stays in it."""
        try:
            await self._leg.run(lambda: self._cause)
        except Exception:
            _log.exception("leg failed", leg=str(self._new.leg))
        finally:
            await self.close_inlet()
            self._count_audio(self.report.ledger.fates())
            self._desks.forget(self._new.leg)

    async def open_inlet(self, transport: Transport, key: str = "") -> Place:
        ended = (lambda: self.end("stream ended")) if key else None
        channels = 2 if transport is Transport.AUDIOSTREAM_STEREO else 1
        self._over = over = asyncio.get_running_loop().create_future()
        tell = lambda in_order: None if over.done() else over.set_result(in_order)  # noqa: E731
        listener = Listener(self._codec, self.now_ms, self.ring.push, ended, channels, self._pass_on, tell)
        self._inlet = await self._desks.inlets.open(transport, listener, key)
        self._counted = (0,) * len(self._inlet.fates)
        return self._inlet.place

    def _pass_on(self, frames: list[Frame]) -> bool:
        """The second channel; whether anybody takes it."""
        if self.other is None or self.other.ended:
            return False
        self.other.push(frames)
        return True

    async def lock(self, address: str, port: int) -> None:
        if self._inlet is not None:
            self._inlet.lock(address, port)

    async def reach(self, url: str) -> None:
        if self._inlet is not None:
            await self._inlet.reach(url)

    async def over(self) -> bool:
        return True if self._over is None else await asyncio.shield(self._over)

    async def close_inlet(self) -> None:
        inlet, self._inlet = self._inlet, None
        if self._over is not None and not self._over.done():
            self._over.set_result(True)
        if inlet is None:
            return
        await inlet.close()
        if inlet.flaw:
            self.ring.flaw(inlet.flaw)
        self._count(inlet)
        if packets := _packets(inlet):
            leg, at_ms = self._new.leg, round(self.now_ms())
            note = Note(leg.call, str(leg), at_ms, NoteKind.PACKETS, "packets in all", packets)
            self._desks.tell(note)

    def prepare(self) -> None:
        self.ring.prepare()

    def know(self, party: Party) -> None:
        self._leg.events.know(party)

    def answer(self, at_ms: float) -> None:
        self.ring.answer(at_ms)

    def flaw(self, reason: str) -> None:
        self.ring.flaw(reason)

    def end(self, cause: str) -> None:
        self._cause = cause
        self.ring.end()

    def count(self) -> None:
        """Add what became of the packets and the audio since the last time."""
        if self._inlet is not None:
            self._count(self._inlet)
        fates = self.report.ledger.fates()
        fates["arrived"] = self.ring.arrived_ms
        del fates["sent_first"]  # a lost socket takes some of it back: known once the leg is over
        self._count_audio(fates)

    @property
    def backlog_ms(self) -> float:
        """Audio that came and was not sent yet."""
        return self._leg.backlog_ms

    def _count_audio(self, fates: Mapping[str, float]) -> None:
        audio, told = self._desks.audio, self._audio_told
        for fate, ms in fates.items():
            if ms > (before := told.get(fate, 0.0)):
                audio[fate] = audio.get(fate, 0.0) + ms - before
                told[fate] = ms

    def snapshot(self) -> LegSnapshot:
        """How the leg stands. What is counted of packets begins anew with every inlet."""
        return self._leg.snapshot({} if self._inlet is None else _packets(self._inlet))

    def _count(self, inlet: Inlet) -> None:
        before, self._counted = self._counted, inlet.tally()
        fates = self._desks.fates
        for fate, old, new in zip(inlet.fates, before, self._counted, strict=True):
            if new != old:
                fates[fate] += new - old


def _packets(inlet: Inlet) -> dict[str, int]:
    """By fate, without those that never happened."""
    return {fate: number for fate, number in zip(inlet.fates, inlet.tally(), strict=True) if number}


def _clock(origin_s: float) -> Callable[[], float]:
    """Milliseconds since `origin_s`. No method of the desk: the leg keeps it, and the desk keeps the leg, and
    what is in a cycle waits for the collector, which comes seldom (`load.collect_seldom`)."""
    now_s = asyncio.get_running_loop().time
    return lambda: (now_s() - origin_s) * 1000


class LocalDesks:
    """The desks of this process."""

    def __init__(
        self,
        settings: DeskSettings,
        inlets: Inlets,
        speech: Speech,
        publish: Callable[[Event], None],
        *,
        sessions: Callable[[], tuple[int, int]],
        door: Door,
        spool: Spool | None = None,
        unix: Callable[[], float],
        tell: Tell = unheard,
    ) -> None:
        """`sessions` counts those open and those opened; `tell` is for who watches."""
        self.settings = settings
        self.inlets = inlets
        self.speech = speech
        self.publish = publish
        self.tell = tell
        self.spool = spool
        self.unix = unix
        self.fates = Counter[str]()
        """Since `counts` was asked, as the next one."""
        self.audio: dict[str, float] = {}
        self._met = Counter[str]()
        """At the media servers, when it was asked."""
        self._sessions = sessions
        self._door = door
        self._desks: dict[LegId, LocalDesk] = {}

    async def begin(self, new: NewLeg) -> LocalDesk:
        """At once. The caller runs it."""
        return self.place(new)

    def adopt(self, settings: DeskSettings, full_at: float) -> None:
        """Another YAML: for calls that begin from now on; `full_at`: as of `Door`."""
        self.settings = settings
        self._door.full_at = full_at

    def settings_of(self, call: CallId) -> DeskSettings:
        """Those that its legs have, if there are any: a call keeps what it began with."""
        mine = (desk.settings for leg, desk in self._desks.items() if leg.call == call)
        return next(mine, self.settings)

    def place(self, new: NewLeg) -> LocalDesk:
        """A desk for a leg."""
        desk = self._desks[new.leg] = LocalDesk(new, self)
        self._door.promises.take(new.leg.call)
        return desk

    def find(self, leg: LegId) -> LocalDesk | None:
        return self._desks.get(leg)

    def mix(self, host: LegId, guest: LegId) -> None:
        one, other = self.find(host), self.find(guest)
        if one is not None and other is not None:
            one.ring.mix_in(other.ring, one.now_ms)

    def pair(self, host: LegId, guest: LegId) -> None:
        one, other = self.find(host), self.find(guest)
        if one is not None and other is not None:
            one.other = other.ring

    def pause(self, call: CallId, paused: bool) -> None:
        for leg, desk in self._desks.items():
            if leg.call == call and paused:
                desk.ring.pause()
            elif leg.call == call:
                desk.ring.resume(desk.now_ms())

    def observe(self, cpu_s: float, lag_ms: float) -> None:
        """As `load.watch_load` tells it."""
        self._door.observe(asyncio.get_running_loop().time(), cpu_s, len(self._desks), lag_ms)

    def admit(self, call: CallId, legs: int) -> Refusal | None:
        return self._door.admit(call, len(self._desks), legs, asyncio.get_running_loop().time())

    def over(self, call: CallId) -> None:
        self._door.promises.drop(call)

    def counts(self) -> Counts:
        for desk in self._desks.values():
            desk.count()
        fates, self.fates = self.fates, Counter[str]()
        before, self._met = self._met, self.inlets.met()
        fates += self._met - before
        audio, self.audio = self.audio, {}
        opened = self._sessions()
        longest_ms = max((desk.backlog_ms for desk in self._desks.values()), default=0.0)
        return Counts(opened[0], opened[1], fates, audio, longest_ms)

    def snapshots(self) -> list[LegSnapshot]:
        """How each leg stands; to be asked once a second."""
        return [desk.snapshot() for desk in self._desks.values()]

    def forget(self, leg: LegId) -> None:
        """The leg is over."""
        self._desks.pop(leg, None)

    def __len__(self) -> int:
        return len(self._desks)
