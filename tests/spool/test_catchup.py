"""From the disk to late transcripts: word for word, in call time, once; and what RTZR's refusals do to it."""

import asyncio
import json
import os
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from bridge.emulator.codebook import SENTENCES, say, spoken_ms
from bridge.emulator.server import Emulator, Knobs
from bridge.net.filestt import FileStt
from bridge.net.rtzr import Tokens
from bridge.spool.catchup import MOST_SENT, CatchUp, Pauses, late_event
from bridge.spool.jobs import Claim
from bridge.spool.spool import Spool, SpoolSettings
from bridge.types import Codec, Event, LegId, Party, Role
from bridge.wire.filestt import Doubtful, State, Status, Utterance
from bridge.wire.rtzr import Refused, Unreachable
from bridge.wire.spoolfile import Job, LegHead
from tests.emulator.test_files import wav
from tests.spool.test_journal import SENTENCE_MS, said, talk
from tests.wire.test_spoolfile import frames

BEGAN = 1_700_000_000.0
PARTY = Party(Role.CALLER, "01012345678", "홍길동", "PJSIP/kt-01")
QUICK = Pauses(doubt_s=0.05, spent_s=0.05, first_s=0.01, longest_s=0.05)
POLL_S = 0.01


def spool_in(folder: Path) -> Spool:
    """A spool without its thread: what it owes is on the disk when `owe` returns."""
    return Spool(SpoolSettings(folder, poll_s=POLL_S))


def owe(
    spool: Spool,
    *sentences: int,
    channel: str = "1",
    began: float = BEGAN,
    total: int = 8,
    rule: str = "",
) -> None:
    """A leg of `total` sentences whose `sentences` could not be streamed."""
    leg = spool.leg(LegId("call", channel), PARTY, Codec.ULAW, began, rule)
    leg.keep(talk(total))
    for n in sentences:
        leg.lose(n * SENTENCE_MS, (n + 1) * SENTENCE_MS)
    leg.covered(total * SENTENCE_MS)
    leg.close()
    spool.tick()


@dataclass
class Bench:
    """A catch-up at work and what it published."""

    spool: Spool
    catchup: CatchUp
    events: list[Event] = field(default_factory=list)

    @property
    def heard(self) -> list[tuple[int, str]]:
        return [(round(event.data["start_ms"] / 1000), event.data["text"]) for event in self.events]

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(20):
            while not condition():  # noqa: ASYNC110 - what it waits for has no event of its own
                await asyncio.sleep(0.005)

    async def all_done(self) -> None:
        await self.until(lambda: self.spool.jobs.count() == 0)


@asynccontextmanager
async def catching_up(
    spool: Spool,
    client: Any,
    room: Callable[[], bool] = lambda: True,
    pauses: Pauses = QUICK,
    written: Callable[[], Awaitable[bool]] | None = None,
    knows: Callable[[str | None], bool] = lambda _: True,
    paused: Callable[[], frozenset[str]] = frozenset,
) -> AsyncIterator[Bench]:
    events: list[Event] = []
    catchup = CatchUp(spool, client, room, events.append, written, knows=knows, paused=paused, pauses=pauses)
    task = asyncio.create_task(catchup.run())
    try:
        yield Bench(spool, catchup, events)
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


@asynccontextmanager
async def file_client(emulator: Emulator) -> AsyncIterator[FileStt]:
    async with (
        Tokens(emulator.auth_url, "demo", "demo-secret", renew_before_s=600, timeout_s=5) as tokens,
        FileStt(tokens, emulator.file_url, {}, timeout_s=10) as client,
    ):
        yield client


@asynccontextmanager
async def against(emulator: Emulator, spool: Spool, **more: Any) -> AsyncIterator[Bench]:
    async with file_client(emulator) as client, catching_up(spool, client, **more) as bench:
        yield bench


def sidecar(folder: Path) -> str:
    (job,) = (folder / "jobs").iterdir()
    return (job / "job.json").read_text()


def left(folder: Path) -> list[str]:
    """The files that are still there."""
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


# The whole way.


async def test_what_could_not_be_streamed_comes_late_and_word_for_word(tmp_path: Path) -> None:
    spool = spool_in(tmp_path)
    owe(spool, 1, 2, 5)
    async with Emulator() as emulator, against(emulator, spool) as bench:
        await bench.all_done()
        assert bench.heard == said(1, 2, 5)
        assert emulator.files.created == 1
    assert left(tmp_path) == []
    spool.stop()


@pytest.mark.parametrize("codec", list(Codec))
async def test_every_codec_is_heard_at_its_time(tmp_path: Path, codec: Codec) -> None:
    spool = spool_in(tmp_path)
    leg = spool.leg(LegId("call", "1"), PARTY, codec, BEGAN)
    leg.keep(frames(say(SENTENCES[7], codec.rate), codec, at_ms=61_234.5))
    leg.lose(61_000, 70_000)
    leg.close()
    spool.tick()
    async with Emulator() as emulator, against(emulator, spool) as bench:
        await bench.all_done()
    (event,) = bench.events
    assert event.data["text"] == SENTENCES[7]
    assert event.data["start_ms"] == pytest.approx(61_234, abs=8)
    assert event.data["end_ms"] == pytest.approx(61_234 + spoken_ms(SENTENCES[7]), abs=8)
    spool.stop()


async def test_after_a_kill_the_next_bridge_tells_what_the_first_owed(tmp_path: Path) -> None:
    killed = spool_in(tmp_path)
    leg = killed.leg(LegId("call", "1"), PARTY, Codec.ULAW, BEGAN)
    leg.keep(talk(6))
    leg.covered(2 * SENTENCE_MS)
    killed.tick()
    killed.stop()
    spool = spool_in(tmp_path)
    spool.tick()
    async with Emulator() as emulator, against(emulator, spool) as bench:
        await bench.all_done()
        assert bench.heard == said(2, 3, 4, 5)
    spool.stop()


def test_an_event_is_a_final_that_says_it_is_late() -> None:
    job = Job(LegHead(LegId("call", "ch"), PARTY, Codec.ULAW, BEGAN), 5000, 9000)
    event = late_event(job, 3, Utterance("여보세요", 200, 1400), BEGAN + 60)
    assert event.as_json() == {
        "specversion": "1.0",
        "id": "call/ch/late/5000-9000/3",
        "source": "rtzr-bridge",
        "type": "rtzr.transcript.final",
        "subject": "call",
        "time": "2023-11-14T22:14:20.000Z",
        "datacontenttype": "application/json",
        "data": {
            "leg": "call/ch",
            "channel": "ch",
            "party": {"role": "caller", "number": "01012345678", "name": "홍길동", "channel": "PJSIP/kt-01"},
            "text": "여보세요",
            "start_ms": 5200,
            "end_ms": 6400,
            "latency_ms": 53_600,
            "words": [],
            "late": True,
        },
    }


async def test_an_event_says_the_rule_of_its_call_after_a_kill_too(tmp_path: Path) -> None:
    killed = spool_in(tmp_path)
    killed.leg(LegId("call", "1"), PARTY, Codec.ULAW, BEGAN, "sales").keep(talk(2))
    killed.tick()
    killed.stop()
    spool = spool_in(tmp_path)
    spool.tick()
    owe(spool, 0, channel="2", began=BEGAN + 100)
    async with Emulator() as emulator, against(emulator, spool) as bench:
        await bench.all_done()
    assert [event.rule for event in bench.events] == ["sales", "sales", ""]
    assert "sales" not in repr([event.as_json() for event in bench.events])
    spool.stop()


async def test_of_a_rule_that_is_gone_nothing_is_told_and_the_audio_kept(tmp_path: Path) -> None:
    spool = spool_in(tmp_path)
    owe(spool, 1, rule="gone")
    owe(spool, 2, channel="2", began=BEGAN + 100, rule="here")
    with capture_logs() as logs:
        async with Emulator() as emulator:
            async with against(emulator, spool, knows={"here"}.__contains__) as bench:
                await bench.all_done()
                assert bench.heard == said(2)
            assert emulator.files.created == 1
            (aside,) = (tmp_path / "failed").iterdir()
            assert left(aside) == ["audio.wav", "job.json"]
            aside.rename(
                tmp_path / "jobs" / aside.name
            )  # as docs/rules.md says, with the rule back in the YAML
            async with against(emulator, spool, knows={"here", "gone"}.__contains__) as bench:
                await bench.all_done()
                assert bench.heard == said(1)
    (error,) = [log for log in logs if log["log_level"] == "error"]
    assert "rule gone is not in the YAML" in error["reason"]
    spool.stop()


async def test_of_a_job_that_says_no_rule_nothing_is_told_where_rules_name_sinks(tmp_path: Path) -> None:
    spool = spool_in(tmp_path)
    owe(spool, 1)
    (job,) = (tmp_path / "jobs").iterdir()
    said_of_it = json.loads((job / "job.json").read_text())
    del said_of_it["rule"]
    (job / "job.json").write_text(json.dumps(said_of_it))
    with capture_logs() as logs:
        async with catching_up(
            spool, Scripted("x", looks=(DONE,)), knows=lambda rule: rule is not None
        ) as bench:
            await bench.all_done()
    assert bench.events == []
    assert left(tmp_path / "failed") == ["audio.wav", "job.json"]
    (error,) = [log for log in logs if log["log_level"] == "error"]
    assert "job.json says no rule" in error["reason"]
    spool.stop()


async def test_the_oldest_goes_first_and_only_when_there_is_room(tmp_path: Path) -> None:
    spool = spool_in(tmp_path)
    owe(spool, 3, channel="b", began=BEGAN + 100)
    owe(spool, 0, channel="a")
    asked = 0

    def room() -> bool:
        nonlocal asked
        asked += 1
        return asked > 5

    async with Emulator() as emulator, against(emulator, spool, room=room) as bench:
        await bench.until(lambda: asked > 3)
        assert emulator.files.created == 0
        await bench.all_done()
        assert bench.heard == said(0, 3)
    spool.stop()


async def test_a_job_whose_call_is_paused_since_it_was_chosen_does_not_go(tmp_path: Path) -> None:
    spool = spool_in(tmp_path)
    owe(spool, 0)
    with spool.jobs.oldest(time.time()) or pytest.fail("none") as claim:
        call = claim.job.head.leg.call
    asked = 0

    def paused() -> frozenset[str]:
        nonlocal asked
        asked += 1
        return frozenset({call} if 1 < asked < 6 else ())

    client = Scripted("x", looks=(DONE,))
    async with catching_up(spool, client, paused=paused) as bench:
        await bench.until(lambda: asked == 3)
        assert client.sent == 0
        await bench.all_done()
    assert (client.sent, bench.catchup.counters.resent, len(bench.events)) == (1, 0, 1)
    spool.stop()


async def test_nothing_that_was_said_is_in_the_log(tmp_path: Path) -> None:
    spool = spool_in(tmp_path)
    owe(spool, 0, 1)
    with capture_logs() as logs:
        async with Emulator() as emulator, against(emulator, spool) as bench:
            await bench.all_done()
            emulator.knobs = Knobs(file_fail=True)
            owe(spool, 2, 3)
            await bench.all_done()
    told = repr(logs)
    assert "late transcripts" in told
    assert "file given up" in told
    assert not [word for sentence in SENTENCES for word in sentence.split() if word in told]
    assert PARTY.number not in told
    spool.stop()


# RTZR's answers.


async def test_full_jobs_are_waited_for(tmp_path: Path) -> None:
    spool = spool_in(tmp_path)
    owe(spool, 1)
    async with Emulator(Knobs(file_delay_ms=60_000)) as emulator:
        async with file_client(emulator) as another:
            await another.send(wav(say(SENTENCES[0])))
        emulator.knobs = Knobs(file_delay_ms=60_000, file_max_jobs=1)
        async with against(emulator, spool) as bench:
            await bench.until(lambda: bench.catchup.counters.refused >= 3)
            assert bench.events == []
            emulator.knobs = Knobs()
            await bench.all_done()
            assert bench.heard == said(1)
    spool.stop()


async def test_a_job_under_way_is_asked_about_after_a_restart_and_not_sent_twice(tmp_path: Path) -> None:
    spool = spool_in(tmp_path)
    owe(spool, 4)
    async with Emulator(Knobs(file_delay_ms=60_000)) as emulator:
        async with against(emulator, spool) as bench:
            await bench.until(lambda: '"transcribe_id": ""' not in sidecar(tmp_path))
        assert bench.events == []
        emulator.knobs = Knobs()
        async with against(emulator, spool_in(tmp_path)) as bench:
            await bench.all_done()
            assert bench.heard == said(4)
        assert emulator.files.created == 1
    spool.stop()


async def test_a_failed_job_is_tried_once_more(tmp_path: Path) -> None:
    spool = spool_in(tmp_path)
    owe(spool, 6)
    async with Emulator(Knobs(file_fail=True)) as emulator, against(emulator, spool) as bench:
        await bench.until(lambda: emulator.files.created == 1)
        emulator.knobs = Knobs()
        await bench.all_done()
        assert bench.heard == said(6)
        assert emulator.files.created == 2
    spool.stop()


async def test_a_job_that_fails_twice_is_put_aside_with_its_audio(tmp_path: Path) -> None:
    spool = spool_in(tmp_path)
    owe(spool, 6)
    with capture_logs() as logs:
        async with Emulator(Knobs(file_fail=True)) as emulator, against(emulator, spool) as bench:
            await bench.until(lambda: (tmp_path / "failed").exists() and any((tmp_path / "failed").iterdir()))
            assert (emulator.files.created, bench.events) == (2, [])
    assert left(tmp_path / "failed") == ["audio.wav", "job.json"]
    assert [log["event"] for log in logs if log["log_level"] == "error"] == [
        "file given up; its audio is kept in failed/"
    ]
    spool.stop()


async def test_no_job_goes_before_what_it_told_is_on_the_disk(tmp_path: Path) -> None:
    spool, answers = spool_in(tmp_path), [False, True]
    owe(spool, 2)
    jobs: list[int] = []

    async def written() -> bool:
        jobs.append(spool.jobs.count())
        return answers.pop(0)

    async with Emulator() as emulator, against(emulator, spool, written=written) as bench:
        await bench.all_done()
        assert len({event.id for event in bench.events}) == 1
        assert len(bench.events) == 2
    assert jobs == [1, 1]


async def test_a_lost_answer_costs_a_second_job_and_tells_nothing_twice(tmp_path: Path) -> None:
    spool = spool_in(tmp_path)
    owe(spool, 0, 2)
    async with Emulator(Knobs(file_lost_answer=True)) as emulator, against(emulator, spool) as bench:
        await bench.until(lambda: bench.catchup.counters.resent == 1)
        emulator.knobs = Knobs()
        await bench.all_done()
        assert bench.heard == said(0, 2)
        assert emulator.files.created == 2
    spool.stop()


async def test_after_a_lost_answer_the_others_do_not_wait(tmp_path: Path) -> None:
    spool = spool_in(tmp_path)
    owe(spool, 0)
    pauses = Pauses(doubt_s=600)
    async with (
        Emulator(Knobs(file_lost_answer=True)) as emulator,
        against(emulator, spool, pauses=pauses) as bench,
    ):
        await bench.until(lambda: bench.catchup.counters.resent == 1)
        emulator.knobs = Knobs()
        owe(spool, 1, channel="2")
        await bench.until(lambda: bench.catchup.counters.done == 1)
        await bench.until(lambda: spool.jobs.count() == 1)
        assert bench.heard == said(1)
        assert emulator.files.created == 2
    spool.stop()


class Scripted:
    """RTZR as its answers: each is raised or given, the last again and again."""

    def __init__(self, *sends: str | Exception, looks: tuple[State | Exception, ...] = ()) -> None:
        self._sends = list(sends)
        self._looks = list(looks)
        self.sent = 0
        self.looked: list[str] = []

    async def send(self, wav: bytes) -> str:
        assert wav.startswith(b"RIFF")
        self.sent += 1
        answer = self._sends.pop(0) if len(self._sends) > 1 else self._sends[0]
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def look(self, job: str) -> State:
        self.looked.append(job)
        answer = self._looks.pop(0) if len(self._looks) > 1 else self._looks[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


DONE = State(Status.COMPLETED, (Utterance("예약", 0, 200), Utterance(" ", 300, 400)))


@pytest.mark.parametrize("status", [400, 413, 415, 422])
async def test_a_file_that_is_refused_is_put_aside_and_the_next_is_sent(tmp_path: Path, status: int) -> None:
    spool = spool_in(tmp_path)
    owe(spool, 0)
    owe(spool, 1, channel="2", began=BEGAN + 100)
    client = Scripted(Refused(status, "H0001", "no"), "x", looks=(DONE,))
    with capture_logs() as logs:
        async with catching_up(spool, client) as bench:
            await bench.all_done()
    assert [event.data["channel"] for event in bench.events] == ["2"]
    assert len(list((tmp_path / "failed").iterdir())) == 1
    assert len([log for log in logs if log["log_level"] == "error"]) == 1
    spool.stop()


@pytest.mark.parametrize(
    "refused",
    [
        Refused(429, "A0001", "Usage exceeded"),
        Refused(401, "H0002", "no"),
        Refused(403, "", ""),
        Refused(404, "", ""),
    ],
)
async def test_a_refusal_that_is_not_of_the_file_loses_none_and_is_told_once(
    tmp_path: Path, refused: Refused
) -> None:
    spool = spool_in(tmp_path)
    owe(spool, 0)
    client = Scripted(refused, refused, refused, "x", looks=(DONE,))
    started = time.monotonic()
    with capture_logs() as logs:
        async with catching_up(spool, client) as bench:
            await bench.all_done()
    assert time.monotonic() - started > 3 * QUICK.spent_s
    assert client.sent == 4
    assert [log["event"] for log in logs if log["log_level"] == "error"] == ["files refused"]
    assert [event.data["text"] for event in bench.events] == ["예약"]
    assert not list((tmp_path / "failed").iterdir())
    spool.stop()


async def test_trouble_of_every_kind_on_the_way_loses_nothing(tmp_path: Path) -> None:
    spool = spool_in(tmp_path)
    owe(spool, 0)
    client = Scripted(
        Unreachable("away"),
        Refused(503, "", ""),
        Refused(429, "A0002", "Too many concurrent requests"),
        Doubtful("lost"),
        "x",
        looks=(Refused(429, "A0002", ""), Unreachable("away"), State(Status.TRANSCRIBING), DONE),
    )
    async with catching_up(spool, client) as bench:
        await bench.all_done()
    assert [event.data["text"] for event in bench.events] == ["예약"]
    assert (client.sent, client.looked) == (5, ["x"] * 4)
    spool.stop()


async def test_a_job_that_rtzr_forgot_is_sent_again(tmp_path: Path) -> None:
    spool = spool_in(tmp_path)
    owe(spool, 0)
    client = Scripted("x", "y", looks=(Refused(404, "", ""), DONE))
    async with catching_up(spool, client) as bench:
        await bench.all_done()
    assert client.looked == ["x", "y"]
    assert len(bench.events) == 1
    spool.stop()


async def test_a_job_that_never_ends_is_given_up_at_last(tmp_path: Path) -> None:
    spool = spool_in(tmp_path)
    owe(spool, 0)
    client = Scripted("x", looks=(State(Status.TRANSCRIBING),))
    pauses = Pauses(longest_s=0.01, first_s=0.01, result_s=0.05)
    with capture_logs():
        async with catching_up(spool, client, pauses=pauses) as bench:
            await bench.all_done()
    assert client.sent == 2
    assert len(list((tmp_path / "failed").iterdir())) == 1
    spool.stop()


async def test_a_file_that_is_in_doubt_every_time_is_not_sent_for_ever(tmp_path: Path) -> None:
    spool = spool_in(tmp_path)
    owe(spool, 0)
    client = Scripted(Doubtful("lost"))
    with capture_logs():
        async with catching_up(spool, client, pauses=Pauses(doubt_s=0.01)) as bench:
            await bench.all_done()
    assert client.sent == MOST_SENT
    assert len(list((tmp_path / "failed").iterdir())) == 1
    spool.stop()


async def test_killed_while_a_file_is_sent_it_is_in_doubt(tmp_path: Path) -> None:
    spool = spool_in(tmp_path)
    owe(spool, 0)
    waiting = asyncio.Event()

    class Silent(Scripted):
        async def send(self, wav: bytes) -> str:
            waiting.set()
            await asyncio.Event().wait()
            return ""

    async with catching_up(spool, Silent("x")):
        await asyncio.wait_for(waiting.wait(), 5)
    client = Scripted("x", looks=(DONE,))
    async with catching_up(spool, client, pauses=Pauses(doubt_s=600)) as bench:
        await bench.until(lambda: '"sending": false' in sidecar(tmp_path))
    assert client.sent == 0
    assert spool.jobs.oldest(time.time() + 590) is None
    with spool.jobs.oldest(time.time() + 601) or pytest.fail("none") as claim:
        assert (claim.job.sending, claim.job.sent) == (False, 1)
    spool.stop()


async def test_one_that_is_stopped_while_it_looks_keeps_no_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool = spool_in(tmp_path)
    owe(spool, 0)
    looking, go_on, oldest = threading.Event(), threading.Event(), spool.jobs.oldest

    def slow(now: float, paused: frozenset[str]) -> Claim | None:
        looking.set()
        assert go_on.wait(10)
        return oldest(now, paused)

    with monkeypatch.context() as patch:
        patch.setattr(spool.jobs, "oldest", slow)
        async with catching_up(spool, Scripted("x")) as bench:
            await bench.until(looking.is_set)
        go_on.set()
    client = Scripted("x", looks=(DONE,))
    async with catching_up(spool, client) as bench:
        await bench.all_done()
    assert len(bench.events) == 1
    spool.stop()


# The disk.


async def test_a_job_that_cannot_be_deleted_is_told_once_and_holds_up_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool = spool_in(tmp_path)
    owe(spool, 0)
    owe(spool, 1, channel="2", began=BEGAN + 100)
    client = Scripted("x", looks=(DONE,))

    def denied(*_: object, **__: object) -> None:
        raise OSError(30, "Read-only file system")

    with capture_logs() as logs:
        async with catching_up(spool, client) as bench:
            with monkeypatch.context() as patch:
                patch.setattr(Path, "unlink", denied)
                await bench.until(lambda: bench.catchup.counters.done == 2)
                for _ in range(5):
                    await asyncio.sleep(POLL_S)
            assert len(bench.events) == 2
            await bench.all_done()
            assert len(bench.events) == 2
    assert len({event.id for event in bench.events}) == 2
    assert [log["event"] for log in logs].count("job not deleted") == 1
    spool.stop()


async def test_a_disk_that_takes_no_note_still_tells_every_word_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool = spool_in(tmp_path)
    owe(spool, 0)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    client = Scripted(Doubtful("lost"), "x", "y", looks=(State(Status.FAILED), DONE))
    with capture_logs():
        async with catching_up(spool, client) as bench:
            with monkeypatch.context() as patch:
                patch.setattr(os, "fsync", full)
                await bench.all_done()
    assert [event.data["text"] for event in bench.events] == ["예약"]
    spool.stop()


async def test_audio_that_cannot_be_read_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool = spool_in(tmp_path)
    owe(spool, 0)
    client = Scripted("x", looks=(DONE,))
    read = Path.read_bytes

    def failing(path: Path) -> bytes:
        if path.suffix == ".wav":
            raise OSError(5, "Input/output error")
        return read(path)

    with capture_logs() as logs:
        async with catching_up(spool, client) as bench:
            with monkeypatch.context() as patch:
                patch.setattr(Path, "read_bytes", failing)
                await bench.until(lambda: bool(logs))
            await bench.all_done()
    assert logs[0]["event"] == "job not read"
    assert len(bench.events) == 1
    spool.stop()
