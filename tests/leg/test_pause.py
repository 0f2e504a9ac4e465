"""A pause, leg by leg, on the emulator's side: nothing of what was said in it has arrived there, whatever
came of the leg's sessions."""

import asyncio
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.emulator.codebook import SENTENCES
from bridge.emulator.server import Emulator, Knobs
from bridge.leg.call import Leg
from bridge.leg.ring import Ring
from bridge.spool.spool import Spool, SpoolSettings
from bridge.types import Codec, Event, Frame, LegId, Party, Role
from bridge.wire.gate import Mode
from bridge.wire.watched import LegState
from tests.leg.test_call import FATES, QUICK, Call, Fate, Losing, call, settings_of, until
from tests.scale import scaled

BEFORE, DURING, AFTER = SENTENCES[1], SENTENCES[2], SENTENCES[3]
RECORDING = replace(QUICK, record=True)
SECRET = bytes([0x05, 0x85]) * 80
"""20 ms of a loud tone that no sentence has."""


@dataclass
class Paused:
    """A call in the test's hand, whose secret is said only while it is paused."""

    call: Call

    def secret(self, at_ms: float, ms: int = 1000) -> float:
        """It arrives from the PBX; call time of its end."""
        for start in range(0, ms, 20):
            self.call.ring.push([Frame(SECRET, at_ms + start)])
        return at_ms + ms

    @property
    def arrived(self) -> bytes:
        """All that reached the emulator."""
        return b"|".join(bytes(one.payload) for one in self.call.emulator.heard)


@pytest.mark.parametrize("mode", Mode)
async def test_nothing_of_a_pause_is_sent_and_what_was_said_around_it_is_told(mode: Mode) -> None:
    async with call(RECORDING, settings=settings_of(mode)) as one:
        paused = Paused(one)
        one.ring.answer(0)
        at_ms = one.say(BEFORE, 0)
        await until(lambda: len(one.finals) == 1)
        one.ring.pause()
        at_ms = paused.secret(at_ms)
        await until(lambda: one.emulator.stats().sockets_open == 0)  # in order, and before the resume
        stands = one.leg.snapshot({})
        assert (stands.state, stands.level_db, stands.paused_ms >= 1000) == (LegState.PAUSED, None, True)
        one.ring.resume(at_ms)
        paused.secret(at_ms - 200, 200)  # what was under way
        one.say(AFTER, at_ms + 200)
        await until(lambda: len(one.finals) == 2)
        one.ring.end()
        report = await one.ended()
    assert SECRET not in paused.arrived
    assert one.texts == [BEFORE, AFTER]
    assert report.ledger.paused >= 1200
    assert report.ledger.lost == {}
    assert report.reasons == []
    assert report.ledger.sessions == 2
    assert abs(one.finals[1]["start_ms"] - (at_ms + 200)) < 300


async def test_the_words_that_were_sent_before_a_pause_are_still_told() -> None:
    async with call(replace(RECORDING, recognition_ms=300)) as one:
        one.ring.answer(0)
        one.say(BEFORE, 0, silence_ms=100)
        await until(lambda: bool(one.emulator.heard) and len(one.emulator.heard[0].payload) > 8 * 800)
        await until(lambda: one.leg.backlog_ms == 0)
        one.ring.pause()
        await until(lambda: one.texts == [BEFORE])
        one.ring.end()
        assert (await one.ended()).reasons == []


async def test_what_waits_for_a_session_when_a_pause_begins_is_not_sent_after_it() -> None:
    async with call(replace(RECORDING, maintenance=True)) as one:
        paused = Paused(one)
        one.ring.answer(0)
        at_ms = paused.secret(0)
        await until(lambda: one.leg.backlog_ms > 0 and one.ring.waiting_ms == 0)
        one.ring.pause()
        await until(lambda: one.leg.backlog_ms == 0)
        one.emulator.knobs = RECORDING
        one.ring.resume(at_ms)
        one.say(AFTER, at_ms + 200)
        await until(lambda: one.texts == [AFTER])
        one.ring.end()
        report = await one.ended()
    assert SECRET not in paused.arrived
    assert report.ledger.lost == {}
    assert report.ledger.paused == 1000


async def test_a_socket_that_is_lost_in_a_pause_is_not_made_good() -> None:
    async with call(replace(RECORDING, recognition_ms=60_000)) as one:
        one.ring.answer(0)
        one.say(BEFORE, 0)
        await until(lambda: bool(one.emulator.heard) and len(one.emulator.heard[0].payload) > 8 * 1500)
        one.ring.pause()
        Paused(one).secret(3000)
        one.emulator.cut()
        await until(lambda: one.emulator.stats().sockets_open == 0)
        one.emulator.knobs = RECORDING
        one.ring.end()
        report = await one.ended()
    assert len(one.emulator.heard) == 1
    assert report.ledger.lost == {}
    assert report.ledger.replayed > 0  # it went out in vain


async def test_what_an_rtzr_that_does_not_read_was_to_have_is_dropped() -> None:
    speech = Losing([("opened", 1_000_000, False)])
    async with Emulator(QUICK) as emulator:
        one = Call(emulator, cast("Any", speech))
        one.ring.answer(0)
        one.say(BEFORE, 0)
        await until(lambda: bool(speech.sessions) and len(speech.sessions[0].heard) > 8 * 1500)
        speech.sessions[0].unsent = True
        one.ring.pause()
        Paused(one).secret(3000)
        await until(lambda: speech.sessions[0].aborted)
        one.ring.end()
        report = await one.ended_alone()
    assert not speech.sessions[0].clean
    assert report.ledger.lost == {}
    assert report.ledger.paused == pytest.approx(report.ledger.arrived)


async def test_a_call_without_consent_opens_no_socket() -> None:
    async with call(RECORDING) as one:
        one.ring.pause()
        one.ring.prepare()
        one.ring.answer(0)
        at_ms = Paused(one).secret(0)
        await asyncio.sleep(0.2)  # that nothing happens
        assert one.emulator.stats().sockets_opened == 0
        one.ring.resume(at_ms)
        one.say(AFTER, at_ms + 200)
        await until(lambda: one.texts == [AFTER])
        one.ring.end()
        assert (await one.ended()).ledger.sessions == 1


async def test_a_pause_while_the_socket_is_opened_leaves_it_unused() -> None:
    async with call(replace(RECORDING, connect_delay_ms=100)) as one:
        one.ring.answer(0)
        at_ms = Paused(one).secret(0, 200)
        await until(lambda: one.ring.waiting_ms == 0)
        one.ring.pause()
        Paused(one).secret(at_ms)
        await until(lambda: one.leg.report.ledger.sessions == 1 and not one.emulator.stats().sockets_open)
        one.ring.end()
        report = await one.ended()
    assert [bytes(heard.payload) for heard in one.emulator.heard] == [b""]
    assert report.ledger.paused == 1200


async def test_nothing_of_a_pause_touches_the_disk(tmp_path: Path) -> None:
    spool = Spool(SpoolSettings(tmp_path, 100, 1))
    async with call(Knobs(maintenance=True), spool=spool) as one:
        one.ring.answer(0)
        one.ring.pause()
        Paused(one).secret(0)
        one.ring.end()
        await one.ended()
        spool.tick()
    assert spool.counters.kept_ms == spool.counters.jobs_made == 0


async def test_in_a_mixed_stream_neither_party_is_heard_in_a_pause() -> None:
    host, guest = Ring(Codec.ULAW, 60_000), Ring(Codec.ULAW, 60_000)
    host.mix_in(guest, lambda: 1000.0)
    for ring in (host, guest):
        ring.push([Frame(SECRET, 0)])
        ring.pause()
        ring.push([Frame(SECRET, 20)])
    assert host.read_now().frames == ()
    for ring in (host, guest):
        ring.resume(100)
        ring.push([Frame(b"\xff" * 160, 900)])
    host.end()
    guest.end()
    assert [frame.at_ms for frame in host.read_now().frames] == [900]
    assert guest.paused_ms == 20
    assert host.paused_ms >= 40


def test_a_pause_is_counted_once_and_its_end_is_told_to_none_that_goes_on() -> None:
    ring = Ring(Codec.ULAW, 60_000)
    ring.resume(50)
    ring.push([Frame(SECRET, 0)])
    ring.pause()
    ring.pause()
    assert (ring.pauses, ring.paused_ms, ring.waiting_ms) == (1, 20, 0)
    ring.resume(100)
    assert not ring.paused


PIECES = st.lists(
    st.tuples(st.sampled_from(["said", "silent", "secret"]), st.integers(1, 60), st.integers(0, 800)),
    min_size=1,
    max_size=8,
)


@settings(max_examples=scaled(500))
@given(FATES, PIECES, st.sampled_from(Mode))
def test_whatever_happens_to_its_sessions_no_secret_leaves(
    fates: list[Fate], pieces: list[tuple[str, int, int]], mode: Mode
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("bridge.leg.call.session_retry_s", lambda *_, **__: 0.0)
        asyncio.run(_keep(fates, pieces, mode))


async def _keep(fates: list[Fate], pieces: list[tuple[str, int, int]], mode: Mode) -> None:
    speech, ring, events, now, at = Losing(list(fates)), Ring(Codec.ULAW, 60_000), list[Event](), 0.0, 0.0
    leg = Leg(
        LegId("call", "channel"), Party(Role.CALLER), Codec.ULAW, ring, speech,
        replace(settings_of(mode, drain_ms=100), message_ms=20), clock=lambda: now, publish=events.append,
    )  # fmt: skip
    running = asyncio.create_task(leg.run(lambda: "over"))
    ring.answer(0)
    for kind, count, hole in pieces:
        at += hole
        if kind == "secret":
            ring.pause()
        else:
            ring.resume(at)
            at += 100
        for number in range(count):
            payload = {"said": bytes([0x10, 0x90]) * 80, "silent": b"\xff" * 160, "secret": SECRET}[kind]
            ring.push([Frame(payload, at)])
            at += 20
            now = at
            if number % 3 == 0:
                await asyncio.sleep(0)
    ring.end()
    async with asyncio.timeout(10):
        report = await running
    ledger = report.ledger
    assert ledger.closes(), ledger
    assert all(SECRET[:40] not in session.heard for session in speech.sessions)
    assert ledger.sent == sum(len(session.heard) for session in speech.sessions) / 8
    assert ledger.paused >= 20 * sum(count for kind, count, _ in pieces if kind == "secret")
    assert ledger.lost == {} or report.refusal
