"""One leg from ring to events, on the real emulator: all that is said arrives, all audio is accounted for."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from bridge.emulator.codebook import SENTENCES, say, spoken_ms
from bridge.emulator.server import Emulator, Knobs
from bridge.leg.call import Leg, LegReport, LegSettings
from bridge.leg.conversation import SessionSettings
from bridge.leg.permit import FreePermit, Permit
from bridge.leg.ring import Ring
from bridge.net.rtzr import Rtzr, Session, Tokens
from bridge.spool.spool import LegSpool, Spool
from bridge.types import Codec, Event, Frame, GapReason, LegId, Party, Role
from bridge.wire import g711, rtzr
from bridge.wire.gate import GateSettings, Mode
from tests.scale import scaled

QUICK = Knobs(engine_speed=100)
SETTINGS = LegSettings(GateSettings(), SessionSettings(catch_up=1000))
FIRST, SECOND = SENTENCES[1], SENTENCES[2]


class Speech:
    """The real client, keeping the sessions that it opened."""

    def __init__(self, client: Rtzr) -> None:
        self._client = client
        self.sessions: list[Session] = []

    async def open(self, codec: Codec, priority: int = 0, **_: object) -> FreePermit:
        session = await self._client.open(codec)
        self.sessions.append(session)
        return FreePermit(session)


class Watching(Protocol):
    """What opens a call's sessions and remembers them."""

    @property
    def sessions(self) -> list[Session]: ...
    async def open(
        self,
        codec: Codec,
        priority: int = 0,
        *,
        since_s: float | None = None,
        instead_of: Permit | None = None,
        options: Mapping[str, str] | None = None,
    ) -> Permit: ...


@dataclass
class Call:
    """A leg under test, the side of the PBX in the test's hand."""

    emulator: Emulator
    speech: Watching
    settings: LegSettings = SETTINGS
    codec: Codec = Codec.ULAW
    ring_ms: float = 60_000
    events: list[Event] = field(default_factory=list)
    spool: Spool | None = None

    def __post_init__(self) -> None:
        self.ring = Ring(self.codec, self.ring_ms)
        self.began_s = asyncio.get_running_loop().time()
        self.leg = Leg(
            LegId("call", "channel"),
            Party(Role.CALLER),
            self.codec,
            self.ring,
            self.speech,
            self.settings,
            clock=self.now_ms,
            publish=self.events.append,
            spool=self._keep(),
        )
        self.running = asyncio.create_task(self.leg.run(lambda: "cause 16"))

    def _keep(self) -> LegSpool | None:
        leg = LegId("call", "channel")
        return self.spool.leg(leg, Party(Role.CALLER), self.codec, time.time()) if self.spool else None

    def now_ms(self) -> float:
        return (asyncio.get_running_loop().time() - self.began_s) * 1000

    def hear(self, pcm: bytes, at_ms: float, ms: int = 20) -> float:
        """Audio arrives, faster than it was said; call time of its end."""
        payload, size = g711.from_pcm(pcm, self.codec), ms * self.codec.bytes_per_ms
        self.ring.push(
            [Frame(payload[i : i + size], at_ms + self.codec.ms(i)) for i in range(0, len(payload), size)]
        )
        return at_ms + self.codec.ms(len(payload))

    def say(self, text: str, at_ms: float, silence_ms: int = 1000) -> float:
        return self.hear(say(text, self.codec.rate) + self.silence(silence_ms), at_ms)

    def silence(self, ms: int) -> bytes:
        return bytes(2 * self.codec.rate * ms // 1000)

    async def ended(self) -> LegReport:
        """What the leg reports; whatever happened, its books close and no socket is left."""
        report = await self.ended_alone()
        assert not any(session.open for session in self.speech.sessions)
        await until(lambda: self.emulator.stats().sockets_open == 0)
        return report

    async def ended_alone(self) -> LegReport:
        """The same, where other legs go on."""
        async with asyncio.timeout(15):
            report = await self.running
        assert report.ledger.closes(), report.ledger
        assert self.types[0] == "leg.started"
        assert self.types[-1] == "leg.ended"
        assert self.events[-1].data["ledger"] == report.ledger.as_json()
        return report

    @property
    def types(self) -> list[str]:
        return [event.type.removeprefix("rtzr.") for event in self.events]

    @property
    def finals(self) -> list[dict[str, Any]]:
        return [event.data for event in self.events if event.type == "rtzr.transcript.final"]

    @property
    def texts(self) -> list[str]:
        return [final["text"] for final in self.finals]


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - what it waits for has no event of its own
            await asyncio.sleep(0.005)


@asynccontextmanager
async def rtzr_client(emulator: Emulator, **options: str) -> AsyncIterator[Speech]:
    knobs = Knobs()
    async with Tokens(
        emulator.auth_url, knobs.client_id, knobs.client_secret, renew_before_s=600, timeout_s=2
    ) as tokens:
        yield Speech(Rtzr(tokens, emulator.stream_url, options, timeout_s=2))


@asynccontextmanager
async def call(knobs: Knobs = QUICK, **changed: Any) -> AsyncIterator[Call]:
    """A call; what the test leaves running is cancelled."""
    async with Emulator(knobs) as emulator, rtzr_client(emulator) as speech:
        one = Call(emulator, speech, **changed)
        try:
            yield one
        finally:
            one.running.cancel()
            await asyncio.gather(one.running, return_exceptions=True)


def settings_of(mode: Mode = Mode.HYBRID, **session: Any) -> LegSettings:
    gate = replace(SETTINGS.gate, mode=mode)
    return replace(SETTINGS, gate=gate, session=replace(SETTINGS.session, **session))


# A call as it should be.


@pytest.mark.parametrize("codec", Codec)
@pytest.mark.parametrize("mode", Mode)
async def test_what_is_said_comes_back_in_call_time(mode: Mode, codec: Codec) -> None:
    async with call(settings=settings_of(mode), codec=codec) as one:
        one.ring.answer(0)
        end = one.say(FIRST, 1000)
        one.say(SECOND, end + 3000, silence_ms=1500)
        one.ring.end()
        report = await one.ended()
        assert one.texts == [FIRST, SECOND]
        starts = [final["start_ms"] for final in one.finals]
        assert starts == [pytest.approx(1000, abs=30), pytest.approx(end + 3000, abs=30)]
        assert one.finals[1]["end_ms"] == pytest.approx(end + 3000 + spoken_ms(SECOND), abs=30)
        last = one.finals[1]["words"][-1]
        assert last["text"] == SECOND.split()[-1]
        assert last["end_ms"] == pytest.approx(one.finals[1]["end_ms"], abs=1)
        assert (report.reasons, report.sessions, report.utterances) == ([], 1, 2)
        assert (report.ledger.withheld > 0) == (mode is Mode.VAD)
        assert (report.ledger.filled == pytest.approx(3000, abs=1)) == (mode is Mode.IMMEDIATE)
        assert one.emulator.stats().sockets_opened == one.emulator.stats().tokens_issued == 1


async def test_partials_come_before_their_final() -> None:
    async with call(Knobs(engine_speed=5)) as one:
        one.ring.answer(0)
        one.say(FIRST, 0)
        one.ring.end()
        await one.ended()
        kinds = [kind for kind in one.types if kind.startswith("transcript")]
        assert kinds[0] == "transcript.partial"
        assert kinds[-1] == "transcript.final"


async def test_a_frame_across_the_answer_is_sent_and_what_came_before_is_withheld() -> None:
    async with call() as one:
        one.say(FIRST, 0)
        one.ring.answer(2990)
        end = one.hear(one.silence(3000 - 1980) + say(SECOND) + one.silence(500), 1980)
        one.ring.end()
        report = await one.ended()
        assert one.texts == [SECOND]
        assert report.ledger.withheld == 2980
        assert report.ledger.sent == end - 2980
        assert report.reasons == []


async def test_early_frames_that_come_out_of_order_are_withheld_all_the_same() -> None:
    """A tap that was put back has a clock of its own: its frames may lie a little before the last ones."""
    async with call() as one:
        one.ring.answer(1000)
        one.ring.push([Frame(b"\x7f" * 160, at) for at in (960, 1000, 970, 1020)])
        one.ring.end()
        report = await one.ended()
        assert (report.ledger.withheld, report.ledger.sent) == (40, 40)


# Answer and hang-up.


async def test_a_call_that_nobody_answers_opens_no_socket() -> None:
    async with call(ring_ms=2000) as one:
        one.say(FIRST, 0)
        one.say(SECOND, 2000)
        one.ring.end()
        report = await one.ended()
        stats = one.emulator.stats()
        assert (stats.sockets_opened, stats.tokens_issued) == (0, 0)
        assert report.ledger.withheld == report.ledger.arrived > 4000
        assert (report.reasons, report.sessions, one.texts) == ([], 0, [])


@pytest.mark.parametrize("mode", Mode)
async def test_hung_up_while_connecting_the_words_of_a_short_call_still_come(mode: Mode) -> None:
    async with call(replace(QUICK, connect_delay_ms=150), settings=settings_of(mode)) as one:
        one.ring.answer(0)
        one.hear(say("예약"), 100)
        one.ring.end()
        report = await one.ended()
        assert one.texts == ["예약"]
        assert report.reasons == []


async def test_what_is_said_while_token_and_socket_are_slow_is_not_lost() -> None:
    async with call(replace(QUICK, auth_delay_ms=150, connect_delay_ms=150)) as one:
        one.ring.answer(0)
        end = one.say(FIRST, 0)
        await until(lambda: one.emulator.stats().sockets_opened == 1)
        one.say(SECOND, end)
        one.ring.end()
        report = await one.ended()
        assert one.texts == [FIRST, SECOND]
        assert report.ledger.sent == report.ledger.arrived


async def test_hung_up_in_mid_word_what_was_heard_of_it_comes() -> None:
    for mode in (Mode.HYBRID, Mode.VAD):
        async with call(settings=settings_of(mode)) as one:
            one.ring.answer(0)
            one.hear(one.silence(500) + say(FIRST)[: -2 * 8 * 60], 0)
            one.ring.end()
            await one.ended()
            assert one.texts == [FIRST]


async def test_last_words_are_awaited_no_longer_than_the_drain() -> None:
    async with call(replace(QUICK, recognition_ms=60_000), settings=settings_of(drain_ms=100)) as one:
        one.ring.answer(0)
        one.say(FIRST, 0)
        one.ring.end()
        began_s = asyncio.get_running_loop().time()
        report = await one.ended()
        assert asyncio.get_running_loop().time() - began_s < 3
        assert report.reasons == ["drain"]
        assert report.ledger.sent == report.ledger.arrived


# A session ahead of the answer.


async def test_prepared_a_session_stands_before_the_answer_and_nothing_is_sent_on_it() -> None:
    async with call() as one:
        one.ring.prepare()
        end = one.say(FIRST, 0)
        await until(lambda: one.emulator.stats().sockets_open == 1)
        one.ring.answer(end)
        one.say(SECOND, end)
        one.ring.end()
        report = await one.ended()
        assert one.texts == [SECOND]
        assert report.ledger.withheld == end
        assert report.sessions == one.emulator.stats().sockets_opened == 1


async def test_prepared_and_not_answered_the_session_is_given_back() -> None:
    async with call() as one:
        one.ring.prepare()
        await until(lambda: one.leg.report.sessions == 1)
        one.ring.end()
        report = await one.ended()
        assert (report.sessions, report.reasons) == (1, [])


@pytest.mark.parametrize("knobs", [replace(QUICK, broken=True), replace(QUICK, connect_delay_ms=60_000)])
async def test_prepared_and_not_answered_a_session_that_is_not_to_be_had_is_no_loss(knobs: Knobs) -> None:
    async with call(knobs) as one:
        one.ring.prepare()
        await until(lambda: one.emulator.knobs.broken or one.emulator.stats().tokens_issued == 1)
        one.ring.end()
        async with asyncio.timeout(1):
            report = await one.running
        assert (report.sessions, report.reasons) == (0, [])


# Trouble.


async def test_a_socket_lost_in_mid_sentence_is_replaced_and_the_sentence_comes_whole() -> None:
    async with call(Knobs(engine_speed=5)) as one:
        one.ring.answer(0)
        end = one.hear(say(FIRST), 0)
        await until(lambda: "transcript.partial" in one.types)
        one.speech.sessions[0]._connection.transport.abort()
        one.say(SECOND, end + 1000)
        one.ring.end()
        report = await one.ended()
        assert one.texts == [FIRST, SECOND]
        assert (report.reasons, report.sessions, report.ledger.reconnects) == ([], 2, 1)
        assert one.finals[0]["start_ms"] == pytest.approx(0, abs=30)
        assert one.finals[1]["start_ms"] == pytest.approx(end + 1000, abs=30)
        assert report.ledger.replayed >= 400, "what the first one had been sent goes out again"


async def test_a_socket_lost_between_two_sentences_costs_nothing() -> None:
    async with call() as one:
        one.ring.answer(0)
        end = one.say(FIRST, 0)
        await until(lambda: one.texts == [FIRST])
        one.speech.sessions[0]._connection.transport.abort()
        one.say(SECOND, end)
        one.ring.end()
        report = await one.ended()
        assert one.texts == [FIRST, SECOND]
        assert (report.reasons, report.sessions) == ([], 2)


async def test_a_socket_lost_in_the_drain_is_replaced_too() -> None:
    async with call(replace(QUICK, recognition_ms=60_000)) as one:
        one.ring.answer(0)
        one.say(FIRST, 0)
        one.ring.end()
        await until(lambda: one.leg.backlog_ms == 0)
        one.emulator.knobs = QUICK
        one.speech.sessions[0]._connection.transport.abort()
        report = await one.ended()
        assert (one.texts, report.reasons, report.sessions) == ([FIRST], [], 2)


async def test_refused_for_good_the_audio_is_read_on_and_told_as_a_gap() -> None:
    async with Emulator(QUICK) as emulator, rtzr_client(emulator, epd_time="long") as speech:
        one = Call(emulator, speech)
        one.ring.answer(0)
        end = one.say(FIRST, 100)
        await until(lambda: bool(one.leg.report.refusal))
        one.say(SECOND, end)
        one.ring.end()
        report = await one.ended()
    assert report.reasons == ["refused"]
    assert report.ledger.lost == {GapReason.REFUSED: report.ledger.arrived}
    (gap,) = (event.data for event in one.events if event.type == "rtzr.gap")
    assert (gap["start_ms"], gap["reason"]) == (100, "refused")


async def test_rtzr_away_for_a_while_costs_nothing() -> None:
    async with call(replace(QUICK, broken=True)) as one:
        one.ring.answer(0)
        one.say(FIRST, 0)
        await asyncio.sleep(0.1)
        one.emulator.knobs = QUICK
        await until(lambda: one.texts == [FIRST])
        one.ring.end()
        report = await one.ended()
        assert (report.reasons, report.ledger.lost) == ([], {})


async def test_a_long_outage_is_told_ever_more_seldom(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bridge.leg.call.session_retry_s", lambda *_, **__: 0.0)
    with capture_logs() as logs:
        async with call(replace(QUICK, broken=True)) as one:
            one.ring.answer(0)
            one.say(FIRST, 0)
            await until(lambda: len([x for x in logs if x["event"] == "no session"]) >= 20)
            one.emulator.knobs = QUICK
            await until(lambda: one.texts == [FIRST])
            one.ring.end()
            await one.ended()
    told = [x["attempt"] for x in logs if x["event"] == "no session" and x["log_level"] == "warning"]
    assert told[:5] == [1, 2, 4, 8, 16]
    assert len(told) <= 12


async def test_full_channels_are_waited_for() -> None:
    async with call(replace(QUICK, max_streams=1)) as one:
        other = await one.speech.open(Codec.ULAW)
        one.ring.answer(0)
        one.say(FIRST, 0)
        await asyncio.sleep(0.1)
        assert len(one.speech.sessions) == 1
        await other.session.close()
        await until(lambda: one.texts == [FIRST])
        one.ring.end()
        assert (await one.ended()).reasons == []


async def test_rtzr_away_after_the_hang_up_is_waited_for_no_longer_than_the_drain() -> None:
    async with call(replace(QUICK, broken=True), settings=replace(SETTINGS, outage_ms=300)) as one:
        one.ring.answer(0)
        one.say(FIRST, 0)
        await asyncio.sleep(0.3)  # long enough for pauses between tries that would outlast the drain
        one.ring.end()
        began_s = asyncio.get_running_loop().time()
        report = await one.ended()
        assert asyncio.get_running_loop().time() - began_s < 3
        assert report.ledger.lost_ms == report.ledger.arrived
        assert len(report.reasons) == 1


async def test_audio_that_the_ring_could_not_hold_makes_the_leg_partial() -> None:
    async with call(replace(QUICK, broken=True), ring_ms=1000) as one:
        one.ring.answer(0)
        await until(lambda: one.leg._answered_ms == 0)
        end = one.hear(one.silence(5000), 0)
        one.emulator.knobs = QUICK
        await until(lambda: one.leg.report.ledger.sent > 0)
        one.say(FIRST, end, silence_ms=20)
        one.ring.end()
        report = await one.ended()
        assert report.ledger.lost == {GapReason.RING: 4000}
        assert report.reasons == ["ring"]
        (gap,) = (event.data for event in one.events if event.type == "rtzr.gap")
        assert (gap["start_ms"], gap["end_ms"], gap["ms"], gap["reason"]) == (0, 4000, 4000, "ring")


# Cancellation leaves nothing behind.


@pytest.mark.parametrize("prepared", [False, True], ids=["", "prepared"])
@pytest.mark.parametrize("stage_ms", [0, 5, 30, 60, 90, 120, 200, 300])
async def test_cancelled_at_any_stage_no_socket_and_no_task_stays(stage_ms: int, prepared: bool) -> None:
    """Token 40 ms, socket 40 ms, then talking; the last stages are in the drain."""
    knobs = Knobs(auth_delay_ms=40, connect_delay_ms=40, recognition_ms=60_000)
    async with call(knobs) as one:
        before = asyncio.all_tasks()
        if prepared:
            one.ring.prepare()
        else:
            one.ring.answer(0)
        one.say(FIRST, 0)
        if stage_ms >= 200 and not prepared:
            one.ring.end()
        await asyncio.sleep(stage_ms / 1000)
        one.running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await one.running
        if stage_ms:
            assert one.types[-1] == "leg.ended"
        assert one.leg.report.ledger.closes()
        assert not any(session.open for session in one.speech.sessions)
        await until(lambda: one.emulator.stats().sockets_open == 0)
        ours = [task for task in asyncio.all_tasks() - before if "bridge/call" in repr(task.get_coro())]
        assert ours == []


# Sockets that are lost anywhere, openings that fail, finals that come or do not.


class Fragile:
    """A session that takes so many messages and is lost then; one that `answers` covers all it heard at every
    end of an utterance, and at the end of the stream."""

    def __init__(self, messages: int, answers: bool) -> None:
        self._left = messages
        self._answers = answers
        self._told: asyncio.Queue[rtzr.Result | None] = asyncio.Queue()
        self._seq = 0
        self._told_ms = 0
        self.heard = bytearray()
        self.clean = self.unsent = self.aborted = False

    def _take(self) -> bool:
        self._left -= 1
        if self._left < 0:
            self.abort()
        return self._left >= 0

    def _answer(self) -> None:
        end_ms = len(self.heard) // 8
        if self._answers and end_ms > self._told_ms:
            self._told.put_nowait(rtzr.Result(self._seq, self._told_ms, end_ms, True, "네"))
            self._seq, self._told_ms = self._seq + 1, end_ms

    def send(self, audio: bytes) -> bool:
        if not self._take():
            return False
        self.heard += audio
        return True

    def finalize(self) -> bool:
        taken = self._take()
        if taken:
            self._answer()
        return taken

    def end(self) -> bool:
        self.clean = self._take()
        if self.clean:
            self._answer()
        self.abort()
        return self.clean

    async def results(self) -> AsyncIterator[rtzr.Result]:
        while (result := await self._told.get()) is not None:
            yield result

    async def close(self) -> None:
        self.abort()

    def abort(self) -> None:
        self.aborted, self._left = True, -1
        self._told.put_nowait(None)


Fate = tuple[str, int, bool]
"""What an opening meets: what comes of it, the messages that the session takes, whether it answers."""


@dataclass
class Losing:
    fates: list[Fate]
    sessions: list[Fragile] = field(default_factory=list)

    async def open(self, codec: Codec, priority: int = 0, **_: object) -> FreePermit:
        what, messages, answers = self.fates.pop() if self.fates else ("opened", 1_000_000, True)
        if what == "unreachable":
            raise rtzr.Unreachable("away")
        if what == "busy":
            raise rtzr.Refused(503, "", "")
        if what == "fatal":
            raise rtzr.Refused(400, "H0001", "no")
        session = Fragile(messages, answers)
        self.sessions.append(session)
        return FreePermit(session)


OPENING = st.sampled_from(["opened"] * 6 + ["unreachable", "busy", "fatal"])
FATES = st.lists(st.tuples(OPENING, st.integers(0, 12), st.booleans()), max_size=6)
PIECES = st.lists(st.tuples(st.booleans(), st.integers(1, 60), st.integers(0, 800)), min_size=1, max_size=8)


@settings(max_examples=scaled(1000))
@given(FATES, PIECES, st.sampled_from(Mode), st.sampled_from([1000.0, 60_000.0]))
def test_whatever_happens_to_its_sessions_the_books_close(
    fates: list[Fate], pieces: list[tuple[bool, int, int]], mode: Mode, ring_ms: float
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("bridge.leg.call.session_retry_s", lambda *_, **__: 0.0)
        asyncio.run(lose(fates, pieces, mode, ring_ms))


async def lose(fates: list[Fate], pieces: list[tuple[bool, int, int]], mode: Mode, ring_ms: float) -> None:
    voice, at, speech = g711.pcm_to_ulaw(say("예약 확인 부탁드립니다")), 0.0, Losing(list(fates))
    ring, events, now = Ring(Codec.ULAW, 60_000), list[Event](), 0.0
    leg = Leg(
        LegId("call", "channel"),
        Party(Role.CALLER),
        Codec.ULAW,
        ring,
        speech,
        replace(settings_of(mode, drain_ms=100), ring_ms=ring_ms, message_ms=20),
        clock=lambda: now,
        publish=events.append,
    )
    running = asyncio.create_task(leg.run(lambda: "over"))
    ring.answer(0)
    whole = bytearray()
    for loud, count, hole in pieces:
        at += hole
        for number in range(count):
            place = number % (len(voice) // 160) * 160
            payload = voice[place : place + 160] if loud else b"\xff" * 160
            ring.push([Frame(payload, at)])
            whole += payload
            at += 20
            now = at
            if number % 3 == 0:
                await asyncio.sleep(0)
    ring.end()
    async with asyncio.timeout(10):
        report = await running
    ledger = report.ledger
    assert ledger.closes(), ledger
    assert ledger.arrived == len(whole) / 8
    assert ledger.sent == sum(len(session.heard) for session in speech.sessions) / 8
    assert ledger.sessions == len(speech.sessions)
    assert ledger.billed_s == sum(max(10, len(session.heard) / 8000) for session in speech.sessions)
    gaps = [event.data for event in events if event.type == "rtzr.gap"]
    assert sum(gap["ms"] for gap in gaps) == pytest.approx(ledger.lost_ms, abs=len(gaps))
    assert ledger.lost == {} or ring_ms < 60_000 or report.refusal
    assert {gap["reason"] for gap in gaps} <= set(report.reasons) <= {"ring", "refused", "drain"}
