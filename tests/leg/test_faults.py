"""A leg and everything that RTZR may do to it, on the emulator's knobs: no word lost, or the loss is told."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from random import random
from typing import Any

import pytest

from bridge.emulator.codebook import SENTENCES, say
from bridge.emulator.server import Emulator, Knobs
from bridge.leg.call import LegSettings
from bridge.net.filestt import FileStt
from bridge.net.rtzr import Rtzr, Session, Tokens
from bridge.quota import Governor
from bridge.spool.catchup import CatchUp
from bridge.spool.spool import Spool, SpoolSettings
from bridge.types import Codec, Event, GapReason
from bridge.wire.channels import OnFull, QuotaSettings
from bridge.wire.gate import Mode
from bridge.wire.rtzr import Result
from tests.leg.test_call import QUICK, SETTINGS, Call, settings_of, until

FIRST, SECOND, THIRD = SENTENCES[1], SENTENCES[2], SENTENCES[3]
SWIFT = QuotaSettings(probe_s=0.5, knock_s=0.05, knock_most_s=0.2, pause_s=0.01, pause_most_s=0.05)


class Watched:
    """What the governor opens sessions with; it keeps them for the end of the test."""

    def __init__(self, client: Rtzr, sessions: list[Session]) -> None:
        self._client = client
        self._sessions = sessions

    async def open(self, codec: Codec, options: object = None) -> Session:
        session = await self._client.open(codec)
        self._sessions.append(session)
        return session


class Governed(Governor[Session]):
    """The governor, which remembers the sessions for the test."""

    def __init__(self, client: Rtzr, quota: QuotaSettings) -> None:
        self.sessions: list[Session] = []
        clock = asyncio.get_running_loop().time
        super().__init__(Watched(client, self.sessions), quota, clock=clock, random01=random)


class Site:
    """An emulated RTZR and what all legs share."""

    def __init__(self, emulator: Emulator, tokens: Tokens, quota: QuotaSettings) -> None:
        self.emulator = emulator
        self.tokens = tokens
        self.governor = Governed(Rtzr(tokens, emulator.stream_url, {}, timeout_s=2), quota)
        self.calls: list[Call] = []

    def call(self, settings: LegSettings = SETTINGS, **changed: Any) -> Call:
        """A leg that was answered at 0."""
        one = Call(self.emulator, self.governor, settings, **changed)
        self.calls.append(one)
        one.ring.answer(0)
        return one


@asynccontextmanager
async def site(
    knobs: Knobs = QUICK, quota: QuotaSettings = SWIFT, renew_before_s: float = 600
) -> AsyncIterator[Site]:
    known = Knobs()
    async with (
        Emulator(knobs) as emulator,
        Tokens(
            emulator.auth_url,
            known.client_id,
            known.client_secret,
            renew_before_s=renew_before_s,
            timeout_s=2,
        ) as tokens,
    ):
        one = Site(emulator, tokens, quota)
        try:
            yield one
        finally:
            for left in one.calls:
                left.running.cancel()
            await asyncio.gather(*(left.running for left in one.calls), return_exceptions=True)


async def talk(one: Call, *texts: str, at_ms: float = 0) -> None:
    """Say the sentences and hang up."""
    for text in texts:
        at_ms = one.say(text, at_ms)
    one.ring.end()


# Sockets that go.


@pytest.mark.parametrize("mode", Mode)
@pytest.mark.parametrize("after_s", [0.1, 0.7, 1.5, 2.5, 3.9])
async def test_reset_in_mid_word_every_word_comes_once(mode: Mode, after_s: float) -> None:
    async with site(replace(QUICK, cut_after_s=after_s)) as rtzr:
        one = rtzr.call(settings_of(mode))
        at_ms = one.say(FIRST, 0)
        await until(lambda: rtzr.emulator.stats().sockets_opened > 0)
        rtzr.emulator.knobs = QUICK
        at_ms = one.say(SECOND, at_ms)
        await talk(one, THIRD, at_ms=at_ms)
        report = await one.ended()
        assert " ".join(one.texts).split() == f"{FIRST} {SECOND} {THIRD}".split()
        assert (report.reasons, report.ledger.lost) == ([], {})


async def test_all_sockets_cut_at_once_every_leg_comes_back() -> None:
    async with site() as rtzr:
        legs = [rtzr.call() for _ in range(10)]
        for one in legs:
            one.hear(say(FIRST), 0)
        await until(lambda: all("transcript.partial" in one.types for one in legs))
        assert rtzr.emulator.cut() == 10
        for one in legs:
            await talk(one, SECOND, at_ms=3000)
        for one in legs:
            report = await one.ended_alone()
            assert " ".join(one.texts) == f"{FIRST} {SECOND}"
            assert (report.reasons, report.ledger.reconnects) == ([], 1)


async def test_eos_answered_by_a_reset_is_said_again() -> None:
    async with site(replace(QUICK, eos="reset")) as rtzr:
        one = rtzr.call()
        one.hear(say(FIRST), 0)
        one.ring.end()
        await until(lambda: one.leg.report.ledger.sessions == 1 and not rtzr.emulator.stats().sockets_open)
        rtzr.emulator.knobs = QUICK
        report = await one.ended()
        assert (one.texts, report.reasons, report.sessions) == ([FIRST], [], 2)


async def test_rtzr_that_does_not_close_after_eos_is_left_once_all_is_told() -> None:
    async with site(replace(QUICK, eos="stay")) as rtzr:
        one = rtzr.call(settings_of(drain_ms=20_000))
        await talk(one, FIRST)
        report = await one.ended()
        assert (one.texts, report.reasons) == ([FIRST], [])


async def test_a_socket_closed_right_after_the_handshake_is_no_session_and_costs_no_word() -> None:
    async with site(replace(QUICK, close_at_once=True)) as rtzr:
        one = rtzr.call()
        at_ms = one.say(FIRST, 0)
        await until(lambda: one.leg.report.ledger.sessions >= 2)
        rtzr.emulator.knobs = QUICK
        await talk(one, SECOND, at_ms=at_ms)
        report = await one.ended()
        assert (one.texts, report.reasons) == ([FIRST, SECOND], [])


async def test_mute_rtzr_is_found_by_the_watchdog_and_its_words_come_from_the_next_session() -> None:
    async with site(replace(QUICK, mute=True)) as rtzr:
        one = rtzr.call(settings_of(watchdog_ms=200))
        at_ms = one.say(FIRST, 0, silence_ms=100)
        at_ms = one.say(SECOND, at_ms, silence_ms=100)
        at_ms = one.say(THIRD, at_ms)
        await until(lambda: one.leg.report.ledger.sessions == 1)
        rtzr.emulator.knobs = QUICK
        await until(lambda: one.leg.report.ledger.sessions == 2)
        one.ring.end()
        report = await one.ended()
        assert " ".join(one.texts) == f"{FIRST} {SECOND} {THIRD}"
        assert report.reasons == []
        assert report.ledger.replayed > 0


async def test_the_watchdog_is_patient_with_what_rtzr_may_have_nothing_to_say_of() -> None:
    """Less than 3 s of voice: a cough is not sent again and again."""
    async with site(replace(QUICK, mute=True, eos="stay")) as rtzr:
        one = rtzr.call(settings_of(watchdog_ms=50, drain_ms=100))
        one.say("예약", 0)
        await until(lambda: one.leg.backlog_ms == 0)
        await asyncio.sleep(0.3)  # as long as the watchdog would need, several times
        assert one.leg.report.ledger.sessions == 1
        one.ring.end()
        assert (await one.ended()).reasons == ["drain"]


async def test_rtzr_that_reads_slowly_never_holds_the_leg_up() -> None:
    async with site(replace(QUICK, read_delay_ms=2_000)) as rtzr:
        one = rtzr.call(settings_of(watchdog_ms=300))
        at_ms = one.say(f"{FIRST} {SECOND} {THIRD}", 0)
        await until(lambda: one.leg.report.ledger.sessions == 1)
        rtzr.emulator.knobs = QUICK
        await until(lambda: one.leg.report.ledger.sessions == 2)
        await talk(one, FIRST, at_ms=at_ms)
        report = await one.ended()
        assert " ".join(one.texts) == f"{FIRST} {SECOND} {THIRD} {FIRST}"
        assert report.reasons == []


# Sessions that do not last.


@pytest.mark.parametrize("keepalive_ms", [0, 50])
async def test_a_quiet_session_is_kept_by_silence_that_is_counted(keepalive_ms: int) -> None:
    async with site(replace(QUICK, idle_s=0.3)) as rtzr:
        one = rtzr.call(settings_of(Mode.VAD, keepalive_ms=keepalive_ms))
        one.say(FIRST, 0)
        await until(lambda: one.texts == [FIRST])
        opened = asyncio.get_running_loop().time()
        await until(
            lambda: (
                asyncio.get_running_loop().time() - opened > 0.8
                if keepalive_ms
                else not rtzr.emulator.stats().sockets_open
            )
        )
        await talk(one, SECOND, at_ms=one.now_ms() + 10_000)
        report = await one.ended()
        assert (one.texts, report.reasons) == ([FIRST, SECOND], [])
        assert (report.ledger.keepalive > 0, report.ledger.sessions) == (
            (True, 1) if keepalive_ms else (False, 2)
        )
        assert one.finals[1]["start_ms"] > 10_000


async def test_an_old_session_is_replaced_between_two_utterances() -> None:
    async with site() as rtzr:
        one = rtzr.call(settings_of(rotate_ms=100))
        at_ms = one.say(FIRST, 0)
        await until(lambda: one.leg.report.ledger.sessions == 1 and one.texts == [FIRST])
        await until(lambda: not rtzr.emulator.stats().sockets_open)
        await talk(one, SECOND, at_ms=at_ms)
        report = await one.ended()
        assert (one.texts, report.reasons) == ([FIRST, SECOND], [])
        assert report.ledger.reconnects >= 1
        assert one.finals[1]["start_ms"] == pytest.approx(at_ms, abs=30)


async def test_a_session_that_rtzr_ends_for_its_age_is_replaced() -> None:
    async with site(replace(QUICK, longest_s=0.2)) as rtzr:
        one = rtzr.call()
        at_ms = one.hear(say(FIRST), 0)
        await until(lambda: one.leg.report.ledger.sessions == 1)
        rtzr.emulator.knobs = QUICK
        await until(lambda: not rtzr.emulator.stats().sockets_open)
        await talk(one, SECOND, at_ms=at_ms + 600)
        report = await one.ended()
        assert " ".join(one.texts) == f"{FIRST} {SECOND}"
        assert report.reasons == []


async def test_a_token_that_expires_in_mid_call_costs_one_request_and_no_word() -> None:
    knobs = replace(QUICK, token_life_s=0.5, cut_on_expiry=True)
    async with site(knobs, renew_before_s=0) as rtzr:
        one = rtzr.call()
        at_ms = one.hear(say(FIRST), 0)
        await until(lambda: rtzr.emulator.stats().sockets_opened == 1)
        rtzr.emulator.knobs = QUICK
        await until(lambda: not rtzr.emulator.stats().sockets_open)
        await talk(one, SECOND, at_ms=at_ms + 600)
        report = await one.ended()
        assert " ".join(one.texts) == f"{FIRST} {SECOND}"
        assert (report.reasons, rtzr.tokens.issued) == ([], 2)


async def test_audio_is_sent_no_faster_than_the_catch_up_rate() -> None:
    """RTZR bears 2.5 times real time here, and closes above; what waited 3 s follows at twice."""
    async with site(replace(QUICK, away=True, max_speed=2.5, burst_s=1.0)) as rtzr:
        one = rtzr.call(settings_of(catch_up=2.0))
        one.say(f"{FIRST} {SECOND}", 0)
        await asyncio.sleep(0.1)
        rtzr.emulator.knobs = replace(QUICK, max_speed=2.5, burst_s=1.0)
        one.ring.end()
        report = await one.ended()
        assert " ".join(one.texts) == f"{FIRST} {SECOND}"
        assert (report.reasons, report.ledger.sessions) == ([], 1)


async def test_where_rtzr_does_not_bear_the_catch_up_rate_the_leg_slows_down() -> None:
    async with site(replace(QUICK, max_speed=1.3, burst_s=1.0)) as rtzr:
        one = rtzr.call(settings_of(catch_up=2.0))
        await talk(one, FIRST, SECOND)
        report = await one.ended()
        assert " ".join(one.texts) == f"{FIRST} {SECOND}"
        assert report.reasons == []
        assert report.ledger.reconnects >= 1


# What RTZR says.


async def test_messages_that_are_no_results_change_nothing() -> None:
    knobs = replace(QUICK, noise=True, empty_finals=True, partial_duration_ms=100)
    async with site(knobs) as rtzr:
        one = rtzr.call()
        await talk(one, FIRST, SECOND)
        report = await one.ended()
        assert (one.texts, report.reasons) == ([FIRST, SECOND], [])


async def test_a_late_final_of_the_utterance_before_is_not_taken_for_the_last() -> None:
    """RTZR ends the first utterance by itself, and says so only after the second has been heard."""
    async with site(replace(QUICK, late_final_ms=600)) as rtzr:
        one = rtzr.call(settings_of(Mode.IMMEDIATE))
        await talk(one, FIRST, SECOND)
        report = await one.ended()
        assert (one.texts, report.reasons) == ([FIRST, SECOND], [])


async def test_a_final_that_says_it_ends_too_early_makes_no_word_come_twice() -> None:
    async with site(replace(QUICK, final_early_ms=150)) as rtzr:
        one = rtzr.call()
        at_ms = one.say(FIRST, 0)
        await until(lambda: one.texts == [FIRST])
        rtzr.emulator.cut()
        await talk(one, SECOND, at_ms=at_ms)
        report = await one.ended()
        assert (one.texts, report.reasons) == ([FIRST, SECOND], [])


@pytest.mark.parametrize("cut", [False, True])
async def test_quiet_speech_that_only_rtzr_hears_is_not_lost_either(cut: bool) -> None:
    """One hundredth of full scale is below what `immediate` takes for a voice."""
    async with site(replace(QUICK, recognition_ms=1200)) as rtzr:
        one = rtzr.call(settings_of(Mode.IMMEDIATE))
        pcm = memoryview(say(FIRST)).cast("h")
        quiet = b"".join((sample // 50).to_bytes(2, "little", signed=True) for sample in pcm)
        one.hear(quiet, 0)
        await until(lambda: "transcript.partial" in one.types)
        if cut:
            rtzr.emulator.cut()
        one.ring.end()
        report = await one.ended()
        assert (one.texts, report.reasons) == ([FIRST], [])


async def test_a_final_beyond_what_was_sent_makes_no_repeats_of_what_follows() -> None:
    async with site() as rtzr:
        one = rtzr.call()
        at_ms = one.say(FIRST, 0)
        await until(lambda: one.texts == [FIRST])
        talk_to = one.leg._talk
        assert talk_to is not None
        talk_to._hear(Result(5, 0, 10_000_000, True, "x"))
        at_ms = one.hear(say(SECOND), at_ms)
        await until(lambda: one.leg.backlog_ms == 0)
        rtzr.emulator.cut()
        one.hear(one.silence(1000), at_ms)
        one.ring.end()
        await one.ended()
        assert [text for text in one.texts if text != "x"] == [FIRST, SECOND]


async def test_words_that_were_sent_and_never_told_are_a_gap() -> None:
    async with site(replace(QUICK, mute=True, eos="stay")) as rtzr:
        one = rtzr.call(settings_of(drain_ms=200))
        await talk(one, FIRST)
        report = await one.ended()
        assert report.reasons == ["drain"]
        (gap,) = (event.data for event in one.events if event.type == "rtzr.gap")
        assert gap["ms"] == round(report.ledger.lost[GapReason.DRAIN]) >= 900


# Refusals.


@pytest.mark.parametrize("status", [400, 403, 404])
async def test_a_refusal_for_good_is_told_in_rtzrs_own_words(status: int) -> None:
    knobs = replace(QUICK, dial_status=status, refusal_code="H0001", refusal_msg="epd_time is odd")
    async with site(knobs) as rtzr:
        one = rtzr.call()
        await talk(one, FIRST)
        report = await one.ended()
        assert report.reasons == ["refused"]
        assert report.ledger.lost == {GapReason.REFUSED: report.ledger.arrived}
        assert one.events[-1].data["refusal"] == f"RTZR answered {status} H0001 epd_time is odd"
        assert rtzr.emulator.stats().dials_refused == 1


async def test_unauthorized_renews_the_token_once() -> None:
    async with site(replace(QUICK, dial_status=401, refusal_code="H0002")) as rtzr:
        one = rtzr.call()
        await talk(one, FIRST)
        report = await one.ended()
        assert report.reasons == ["refused"]
        assert (rtzr.tokens.issued, rtzr.emulator.stats().dials_refused) == (2, 2)


@pytest.mark.parametrize(
    "trouble",
    [
        {"maintenance": True},
        {"broken": True},
        {"away": True},
        {"dial_status": 500},
        {"auth_status": 503},
        {"spent": True},
    ],
    ids=str,
)
async def test_what_passes_is_waited_for_and_the_first_words_are_not_lost(trouble: dict[str, Any]) -> None:
    async with site(replace(QUICK, **trouble)) as rtzr:
        one = rtzr.call()
        at_ms = one.say(FIRST, 0)
        await asyncio.sleep(0.2)
        rtzr.emulator.knobs = QUICK
        await talk(one, SECOND, at_ms=at_ms)
        report = await one.ended()
        assert (one.texts, report.reasons) == ([FIRST, SECOND], [])


async def test_a_spent_quota_is_an_alarm_and_is_over_once_a_probe_gets_through() -> None:
    async with site(replace(QUICK, spent=True)) as rtzr:
        one = rtzr.call()
        one.say(FIRST, 0)
        await until(lambda: rtzr.governor.counters.spent)
        refused = rtzr.emulator.stats().dials_refused
        assert refused == 3
        rtzr.emulator.knobs = QUICK
        one.ring.end()
        report = await one.ended()
        assert (one.texts, report.reasons) == ([FIRST], [])
        assert not rtzr.governor.counters.spent


@pytest.mark.parametrize("code", ["A0001", "A0002", "close"])
async def test_with_channels_full_every_leg_gets_its_turn_with_its_first_words(code: str) -> None:
    async with site(replace(QUICK, max_streams=2, full_code=code)) as rtzr:
        legs = [rtzr.call() for _ in range(6)]
        for one in legs:
            await talk(one, FIRST, SECOND)
        for one in legs:
            report = await one.ended_alone()
            assert (one.texts, report.reasons) == ([FIRST, SECOND], [])
        assert rtzr.governor.counters.held == 0
        assert rtzr.governor.counters.longest_wait_s > 0


async def test_a_leg_whose_socket_is_lost_does_not_lose_its_channel_to_one_that_waits() -> None:
    async with site(QUICK, replace(SWIFT, max_sessions=1)) as rtzr:
        first = rtzr.call()
        at_ms = first.say(FIRST, 0)
        await until(lambda: first.texts == [FIRST])
        second = rtzr.call()
        second.say(SECOND, 0)
        await until(lambda: rtzr.governor.counters.waiting == 1)
        at_ms = first.hear(say(SECOND), at_ms)
        rtzr.emulator.cut()
        await talk(first, THIRD, at_ms=at_ms + 600)
        await first.ended_alone()
        assert " ".join(first.texts) == f"{FIRST} {SECOND} {THIRD}"
        assert second.texts == []
        second.ring.end()
        await second.ended()
        assert second.texts == [SECOND]


async def test_our_own_limit_is_kept_without_asking() -> None:
    quota = replace(SWIFT, max_sessions=2)
    async with site(replace(QUICK, max_streams=2), quota) as rtzr:
        legs = [rtzr.call() for _ in range(6)]
        for one in legs:
            await talk(one, FIRST)
        for one in legs:
            assert (await one.ended_alone()).reasons == []
            assert one.texts == [FIRST]
        assert rtzr.emulator.stats().dials_refused == 0


async def test_the_least_important_leg_gives_its_session_up_and_comes_back() -> None:
    quota = replace(SWIFT, max_sessions=1, on_full=OnFull.LOWEST_PRIORITY_OUT)
    async with site(QUICK, quota) as rtzr:
        low = rtzr.call()
        low_end = low.say(FIRST, 0)
        await until(lambda: low.texts == [FIRST])
        high = rtzr.call(replace(SETTINGS, priority=5))
        await talk(high, SECOND)
        await high.ended_alone()
        assert high.texts == [SECOND]
        await talk(low, THIRD, at_ms=low_end)
        report = await low.ended()
        assert low.texts == [FIRST, THIRD]
        assert (report.reasons, rtzr.governor.counters.evicted) == ([], 1)


async def test_audio_that_an_evicted_leg_cannot_keep_is_told_as_such() -> None:
    quota = replace(SWIFT, max_sessions=1, on_full=OnFull.LOWEST_PRIORITY_OUT)
    async with site(QUICK, quota) as rtzr:
        low = rtzr.call(replace(SETTINGS, ring_ms=4000, outage_ms=100))
        at_ms = low.say(FIRST, 0)
        await until(lambda: low.texts == [FIRST])
        high = rtzr.call(replace(SETTINGS, priority=5))
        high.say(SECOND, 0)
        await until(lambda: rtzr.governor.counters.evicted == 1 and high.texts == [SECOND])
        await talk(low, THIRD, SECOND, FIRST, at_ms=at_ms)
        report = await low.ended_alone()
        assert report.ledger.lost.keys() == {GapReason.EVICTED, GapReason.DRAIN}
        high.ring.end()
        assert (await high.ended()).reasons == []


# Audio on the disk.


def audio_in(folder: Path) -> list[Path]:
    """Files that hold anything."""
    return [path for path in folder.rglob("*") if path.is_file() and path.stat().st_size > 0]


@pytest.mark.parametrize("trouble", [{"spent": True}, {"max_streams": 1}, {"broken": True}], ids=str)
async def test_what_found_no_session_comes_late_from_its_file(
    trouble: dict[str, Any], tmp_path: Path
) -> None:
    spool = Spool(SpoolSettings(tmp_path / "spool", poll_s=0.05, settle_s=0.1))
    spool.start()
    try:
        async with site() as rtzr:
            other = await rtzr.governor.open(Codec.ULAW)
            rtzr.emulator.knobs = replace(QUICK, **trouble)
            one = rtzr.call(replace(SETTINGS, outage_ms=50), spool=spool)
            await talk(one, FIRST, SECOND)
            report = await one.ended_alone()
            assert (one.texts, report.reasons) == ([], ["drain"])
            (gap,) = (event.data for event in one.events if event.type == "rtzr.gap")
            assert (gap["spooled"], gap["ms"]) == (True, round(report.ledger.lost_ms))
            rtzr.emulator.knobs = QUICK
            await other.session.close()
            other.release()
            late = list[Event]()
            files_url = f"http://127.0.0.1:{rtzr.emulator.port}/v1/transcribe"
            async with FileStt(rtzr.tokens, files_url, {}) as files:
                working = asyncio.create_task(CatchUp(spool, files, rtzr.governor.room, late.append).run())
                await until(lambda: " ".join(e.data["text"] for e in late) == f"{FIRST} {SECOND}")
                await until(lambda: spool.jobs.count() == 0)
                working.cancel()
                await asyncio.gather(working, return_exceptions=True)
            assert all(event.data["late"] for event in late)
            assert late[0].data["start_ms"] == pytest.approx(0, abs=60)
    finally:
        spool.stop()
    assert audio_in(tmp_path) == []


async def test_what_an_outage_pushes_out_of_the_ring_comes_late_and_the_rest_live(tmp_path: Path) -> None:
    spool = Spool(SpoolSettings(tmp_path / "spool", poll_s=0.05, settle_s=0.1))
    spool.start()
    try:
        async with site(replace(QUICK, away=True)) as rtzr:
            one = rtzr.call(replace(SETTINGS, ring_ms=4000), spool=spool)
            at_ms = one.say(FIRST, 0, silence_ms=3000)
            await until(lambda: one.leg.backlog_ms > 3000)
            at_ms = one.say(SECOND, at_ms, silence_ms=3000)
            await asyncio.sleep(2.5)  # more than the second after which what is covered leaves the disk
            one.say(THIRD, at_ms)
            rtzr.emulator.knobs = QUICK
            one.ring.end()
            report = await one.ended()
            assert (one.texts, report.reasons) == ([THIRD], ["ring"])
            late = list[Event]()
            files_url = f"http://127.0.0.1:{rtzr.emulator.port}/v1/transcribe"
            async with FileStt(rtzr.tokens, files_url, {}) as files:
                working = asyncio.create_task(CatchUp(spool, files, lambda: True, late.append).run())
                await until(lambda: " ".join(e.data["text"] for e in late) == f"{FIRST} {SECOND}")
                await until(lambda: spool.jobs.count() == 0)
                working.cancel()
                await asyncio.gather(working, return_exceptions=True)
    finally:
        spool.stop()


async def test_what_was_told_leaves_the_disk(tmp_path: Path) -> None:
    spool = Spool(SpoolSettings(tmp_path / "spool", settle_s=0.1))
    spool.start()
    try:
        async with site() as rtzr:
            one = rtzr.call(spool=spool)
            await talk(one, FIRST, SECOND)
            assert (await one.ended()).reasons == []
            assert one.texts == [FIRST, SECOND]
    finally:
        spool.stop()
    assert audio_in(tmp_path) == []


# Two parties in one stream.


async def test_both_parties_of_a_call_in_one_stream_say_so_and_the_books_close() -> None:
    async with site() as rtzr:
        host, guest = Call(rtzr.emulator, rtzr.governor), Call(rtzr.emulator, rtzr.governor)
        rtzr.calls += [host, guest]
        host.ring.answer(0)
        host.ring.mix_in(guest.ring, lambda: 0.0)
        guest.ring.answer(0)
        end = host.say(FIRST, 0)
        guest.hear(guest.silence(round(end)) + say(SECOND) + guest.silence(1000), 0)
        host.ring.end()
        guest.ring.end()
        report, quiet = await host.ended(), await guest.ended()
        assert host.texts == [FIRST, SECOND]
        assert all(final["mixed"] for final in host.finals)
        assert (guest.texts, quiet.ledger.mixed, quiet.sessions) == ([], quiet.ledger.arrived, 0)
        assert (report.reasons, quiet.reasons, rtzr.emulator.stats().sockets_opened) == ([], [], 1)
