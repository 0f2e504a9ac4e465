"""Every benchmark runs, on a small scale, and says when a target is missed. Its figures are no test."""

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from bench import __main__ as command
from bench import churn, ladder, latency, outage, tokens
from bench.churn import Calls, Held
from bench.far import Far
from bench.latency import Times
from bench.outage import Row, Scenario
from bench.outcome import Advance, Outcome
from bench.rung import RUNGS
from bench.telephone import Final
from bench.tokens import Wave
from bridge.net.rtzr import Rtzr


class Counted:
    """What a benchmark said of its progress."""

    def __init__(self) -> None:
        self.done = 0

    def __call__(self, more: int) -> None:
        self.done += more


# latency


async def test_latency_times_five_ways(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(latency, "SAID_WORDS", 2)
    monkeypatch.setattr(latency, "_PAUSE_S", 1.4)
    advance = Counted()
    found = await latency.run(advance, calls=1)
    assert advance.done == len(latency.WAYS)
    assert set(found.data) == {"ways", "recognition_ms", "silence_ms", "hybrid_over_ms"}
    ways = found.data["ways"]
    assert list(ways) == list(latency.WAYS)
    assert [len(ways[way][share]) for way in ways for share in ("p50_ms", "p95_ms")] == [3] * 10
    naive, reuse, hybrid = (ways[way]["p50_ms"] for way in ("naive", "reuse", "hybrid"))
    assert all(400 <= quick < slow for quick, slow in zip(hybrid, naive, strict=True))
    assert all(650 <= quick < slow for quick, slow in zip(reuse[1:], naive[1:], strict=True))


def times(*took_ms: float) -> Times:
    return Times([[ms] * 20 for ms in took_ms])


def test_only_a_text_that_is_right_gives_a_time() -> None:
    found = Times()
    finals = [Final("가", 11.5), Final("나", 21.3), Final("다", 21.4), Final("마", 31.0)]
    found.add(["가", "나 다", "라"], [11.0, 21.0, 30.0], finals)
    assert [[round(ms) for ms in took] for took in found.took_ms] == [[500], [400], []]
    assert found.wrong == 1
    assert not found.whole


WAYS = {
    "naive": times(1500, 1500, 1500),
    "reuse": times(1400, 1300, 1300),
    "immediate": times(700, 700, 700),
    "hybrid": times(410, 410, 410),
    "vad": times(410, 410, 410),
}


@pytest.mark.parametrize(
    ("changed", "missed"),
    [
        ({}, []),
        (
            {"reuse": times(1400, 1300, 1311)},
            ["reuse is 189 ms faster than naive on utterance 3, wanted 190"],
        ),
        (
            {"immediate": times(801, 700, 700)},
            ["immediate is 699 ms faster than naive on utterance 1, wanted 700"],
        ),
        (
            {"hybrid": times(410, 426, 426)},
            ["the bridge adds 26 ms at p50, at most 25 wanted"],
        ),
        (
            {"hybrid": times(410, 410, 461)},
            ["the bridge adds 61 ms at p95, at most 60 wanted"],
        ),
    ],
)
def test_latency_says_which_target_it_missed(changed: dict[str, Times], missed: list[str]) -> None:
    assert list(latency.outcome({**WAYS, **changed}, []).missed) == missed


def test_latency_without_a_time_has_no_figures() -> None:
    found = latency.outcome({**WAYS, "vad": Times()}, [])
    assert found.data == {}
    assert found.missed == ["not every utterance has a time"]


# token


async def test_one_wave_of_sessions_costs_one_token() -> None:
    knobs = tokens.KNOBS
    async with AsyncExitStack() as opened:
        far = await opened.enter_async_context(Far(knobs))
        watched = await opened.enter_async_context(
            tokens.Watched(far.auth_url, knobs.client_id, knobs.client_secret, renew_before_s=5, timeout_s=5)
        )
        speech = Rtzr(watched, far.stream_url, {}, timeout_s=5)
        bench = tokens._Bench(far, watched, speech, Counted())
        first = await bench.wave("first", tokens._at_once(10))
        second = await bench.wave("second", tokens._at_once(10))
    assert (first.opened, first.failed, first.auth_requests) == (10, 0, 1)
    assert (second.opened, second.auth_requests, second.refused, second.expired) == (10, 0, 0, 0)


def wave(requests: int, refused: int = 0, failed: int = 0) -> Wave:
    return Wave("a wave", 500 - failed, failed, requests, refused, 0, 300)


def test_token_says_what_it_missed() -> None:
    assert list(tokens.outcome([wave(1), wave(1), wave(0)]).missed) == []
    assert list(tokens.outcome([wave(1), wave(2), wave(0, refused=3, failed=1)]).missed) == [
        "a wave: 2 auth requests, wanted 1",
        "a wave: 3 sessions were opened with an expired token",
        "a wave: 1 sessions could not be opened",
    ]


# churn


async def test_churn_leaves_nothing_behind() -> None:
    advance = Counted()
    found = await churn.run(advance, cycles=20, warm_up=20)
    assert advance.done == 40
    assert (found.data["exact"], found.data["complete"]) == (20, 20)
    for name in ("sessions", "streams", "ports", "tasks", "fds"):
        assert found.data["after"][name] <= found.data["before"][name]


def test_churn_says_what_is_still_held() -> None:
    before, after = Held(0, 0, 0, 1, 20, 60.0), Held(1, 0, 0, 1, 21, 68.1)
    assert list(churn.outcome(10, before, before, Calls(10, 10), 1.0).missed) == []
    assert list(churn.outcome(10, before, after, Calls(9, 8), 1.0).missed) == [
        "sessions: 1 are held, 0 were",
        "fds: 21 are held, 20 were",
        "memory has grown by 8.1 MB, at most 8.0 wanted",
        "1 words did not come back as they were said",
        "2 calls did not end complete",
    ]


# outage


async def test_outage_cuts_lines_and_counts_what_was_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outage, "_LAST_CUT_S", 1.6)
    monkeypatch.setattr(outage, "_AFTER_S", 2.0)
    advance = Counted()
    found = await outage.run(advance, [Scenario(0, 60, 2)])
    assert advance.done == 2
    (row,) = found.data["scenarios"]
    assert (row["runs"], row["inside"], row["uncut"], row["open_books"], row["partial"]) == (2, True, 0, 0, 0)
    assert (row["lost_ms"], row["gap_ms"], row["unheard_ms"], row["words_wrong"]) == (0, 0, 0, 0)
    assert row["words"] > 0


def row(
    *, inside: bool = True, lost: int = 0, gap: int = 0, wrong: int = 0, apart: int = 0, partial: int = 0
) -> Row:
    return Row(5, 60, inside, 10, lost, gap, gap, wrong, 100, apart, 0, partial, 0)


@pytest.mark.parametrize(
    ("found", "missed"),
    [
        (row(), []),
        (row(inside=False, lost=9000, gap=9000, apart=500), []),
        (row(lost=20, gap=20), ["20 ms lost and 20 ms of gaps, though inside the ring"]),
        (row(partial=2), ["2 legs did not end complete, though inside the ring"]),
        (row(inside=False, partial=2), []),
        (row(wrong=1), ["1 words wrong"]),
        (row(inside=False, lost=900, gap=1000), ["gaps of 1000 ms, but 900 ms lost in the ledger"]),
        (row(apart=501), ["a run's gaps and what RTZR was told differ by 501 ms"]),
    ],
)
def test_outage_says_what_it_missed(found: Row, missed: list[str]) -> None:
    assert outage.outcome([found], []).missed == [f"5 s, ring of 60 s: {line}" for line in missed]


def test_a_script_lasts_as_long_as_asked_and_says_the_same_again() -> None:
    first, again, other = outage.script(1, 9.5), outage.script(1, 9.5), outage.script(2, 9.5)
    assert first == again
    assert first.packets != other.packets
    assert 9.5 <= len(first.packets) * 0.02 <= 16
    assert first.words[-1].end_ms <= len(first.packets) * 20 - 1000


# the command


@pytest.mark.parametrize(("missed", "code"), [((), 0), (("too slow",), 1)])
def test_the_command_keeps_the_figures_and_fails_when_a_target_is_missed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, missed: tuple[str, ...], code: int
) -> None:
    async def work(advance: Advance) -> Outcome:
        await asyncio.sleep(0)
        advance(1)
        return Outcome({"p50": 1}, ("a",), [["b"]], (), missed)

    monkeypatch.setattr(command, "_benches", lambda: {"latency": command._Bench(work, 1)})
    monkeypatch.setattr(command, "RESULTS", tmp_path)
    assert command.main(["latency"]) == code
    assert [path.name for path in tmp_path.iterdir()] == ["latency.json"]


def test_an_unknown_name_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        command.main(["latencies"])
    assert "latency, outage, token, churn" in capsys.readouterr().err


@pytest.mark.timeout(120)
async def test_every_rung_hears_what_is_sent_and_the_table_has_them_all() -> None:
    found = await ladder.measure(legs=10, rounds=1, seconds=0.5)
    rows = ladder.table_rows(found)
    assert [row[0] for row in rows] == [*RUNGS, "daemon"]
    assert all(cost > 0 for cost in found["ms_per_leg_s"].values())
