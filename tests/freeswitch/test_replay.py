"""Every recorded session of a real FreeSWITCH, replayed to a real daemon: what comes out is what is expected.

Recordings that can share a FreeSWITCH are merged into one, and several such run at once: the whole takes
about a minute.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest

from tests.asterisk.daemon import EmulatorProcess
from tests.freeswitch.call import Call
from tests.freeswitch.daemon import FreeSwitchBridge, ReplayThread
from tests.freeswitch.expected import Expected, Leg, all_expected
from tests.freeswitch.replayer import Replayer
from tests.freeswitch.stream import Stream

AT_ONCE = 3
"""Daemons: most of their time is their start."""
NEAR_MS = 400
"""How far from its time something may be told to have happened: audio that comes so late is not late."""
SLOW_MS = 600
"""How much audio piles up behind a slow upgrade: it was said before it is sent."""
DRAIN_MS = 5000
"""A call ends when its last words are there."""
PATIENCE_S = 60.0


@dataclass(frozen=True)
class Outcome:
    """One recording's replay, when it is over."""

    call: Call
    events: list[dict[str, Any]]
    """Of its channels, in the order in which they were delivered."""
    printed: str

    def of(self, leg: Leg, kind: str) -> list[dict[str, Any]]:
        channel = self.call.fresh(leg.uuid)
        return [
            event["data"]
            for event in self.events
            if event["type"] == f"rtzr.{kind}" and event["data"].get("channel") == channel
        ]

    def of_call(self, call: str, kind: str) -> list[dict[str, Any]]:
        id_ = self.call.fresh(call)
        return [e["data"] for e in self.events if e["type"] == f"rtzr.{kind}" and e["subject"] == id_]

    def losses(self, leg: Leg) -> str:
        """What the daemon itself says is missing: why a test fails."""
        (ended,) = self.of(leg, "leg.ended")
        ledger = {name: value for name, value in ended["ledger"].items() if value}
        return f"{ended['reasons']} {ledger} held {self.call.clock.waited:.2f} s"

    def streams(self, leg: Leg) -> list[Stream]:
        """Those that carried this party's voice."""
        own = [stream for uuid, stream in self.call.streams if uuid == leg.uuid]
        return own or [stream for _uuid, stream in self.call.streams if stream.order.mix == "stereo"]


def _grouped() -> list[list[Expected]]:
    """The recordings by the FreeSWITCH that replays them, as they were made."""
    shared = sorted((e for e in all_expected().values() if not e.alone), key=lambda e: e.group)
    groups = [[e] for e in all_expected().values() if e.alone]
    groups += [list(members) for _key, members in groupby(shared, key=lambda e: e.group)]
    return sorted(groups, key=len, reverse=True)


def replayed(
    group: Sequence[Expected],
    emulator: EmulatorProcess,
    folder: Path,
    freeswitch: dict[str, object],
    left: int = 2,
) -> dict[str, Outcome]:
    """Replay a group to a daemon of its own; again, `left` times at most, where that has to refuse calls."""
    folder.mkdir()
    names = [one.name for one in group]
    voices = {one.name: one.voices for one in group}
    announced = {one.name: one.call for one in group if one.announced}
    make = partial(Replayer, names, voices, announced=announced)
    with (
        ReplayThread(make) as replay,
        FreeSwitchBridge(replay.replayer.port, emulator, folder, freeswitch=freeswitch) as bridge,
    ):
        replay.wait(PATIENCE_S)
        calls = replay.replayer.calls
        ids = [calls[one.name].fresh(one.call) for one in group]
        bridge.wait(lambda: _over(ids, bridge.events_path), PATIENCE_S)
        bridge.terminate()
        refused = [event["data"]["reason"] for event in bridge.events("call.refused")]
        outcomes = {name: _outcome(calls[name], bridge) for name in names}
    if refused and left:  # the machine is too busy, says the daemon
        return replayed(group, emulator, folder / "again", freeswitch, left - 1)
    return outcomes


def _over(calls: Sequence[str], events: Path) -> bool:
    """Whether all of them have ended, without reading more than that: other replays run beside this one."""
    kinds = (b'"rtzr.call.ended"', b'"rtzr.call.refused"')
    ended = [line for line in events.read_bytes().splitlines() if any(kind in line for kind in kinds)]
    return all(any(call.encode() in line for line in ended) for call in calls)


def _outcome(call: Call, bridge: FreeSwitchBridge) -> Outcome:
    ours = {call.fresh(leg) for leg in call.recording.legs}
    events = [e for e in bridge.events() if e["subject"] in ours or e["data"].get("channel") in ours]
    return Outcome(call, events, bridge.printed())


Replays = dict[str, Future[dict[str, Outcome]]]
"""Recording -> the replay that it is part of."""


@pytest.fixture(scope="module")
def replays(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Replays]:
    """All of them, under way."""
    folder = tmp_path_factory.mktemp("replays")
    with EmulatorProcess(folder) as emulator, ThreadPoolExecutor(AT_ONCE) as pool:
        futures: Replays = {}
        for index, group in enumerate(_grouped()):
            settings = {"stream": group[0].stream, "rate": group[0].rate}
            future = pool.submit(replayed, group, emulator, folder / str(index), settings)
            futures |= {one.name: future for one in group}
        yield futures
        pool.shutdown(cancel_futures=True)


@pytest.fixture
def expected(request: pytest.FixtureRequest) -> Expected:
    return all_expected()[request.param]


@pytest.fixture
def outcome(expected: Expected, replays: Replays) -> Outcome:
    return replays[expected.name].result(PATIENCE_S * 3)[expected.name]


def near(at_ms: float, wanted_ms: float, by_ms: float = NEAR_MS) -> bool:
    return wanted_ms - by_ms <= at_ms <= wanted_ms + by_ms


@pytest.mark.timeout(240)  # the first of them waits for its whole group
@pytest.mark.parametrize("expected", sorted(all_expected()), indirect=True)
def test_what_comes_out_of_a_recorded_session(expected: Expected, outcome: Outcome) -> None:
    assert outcome.call.complaints == []
    assert len(outcome.of_call(expected.call, "call.started")) == 1
    (ended,) = outcome.of_call(expected.call, "call.ended")
    for leg in expected.legs:
        check_people(leg, expected, outcome)
        check_words(leg, expected, outcome)
        check_streams(leg, expected, outcome)
    ends = [leg.ended_ms for leg in expected.legs if leg.ended_ms is not None and leg.tapped]
    if ends and expected.again != "stopped":
        over_ms = max(ends) + outcome.call.clock.waited * 1000
        assert near(ended["at_ms"], over_ms + DRAIN_MS / 2, DRAIN_MS / 2)
    check_verdict(expected, ended)


def check_people(leg: Leg, expected: Expected, outcome: Outcome) -> None:
    """Every party is told of once, and its end with its cause: the stream's, if somebody stops that."""
    (started,) = outcome.of(leg, "leg.started")
    assert (started["party"]["role"], started["party"]["number"]) == (leg.role, leg.number)
    (ended,) = outcome.of(leg, "leg.ended")
    stopped = expected.again == "stopped" and ended["cause"] == "stream ended"
    assert leg.cause is None or stopped or ended["cause"] == f"cause {leg.cause}"


def check_words(leg: Leg, expected: Expected, outcome: Outcome) -> None:
    """Every sentence is heard whole, under its speaker, and where it was said."""
    finals = outcome.of(leg, "transcript.final")
    streams = outcome.streams(leg)
    told = outcome.losses(leg)
    heard, wanted = " ".join(final["text"] for final in finals), " ".join(leg.texts(len(streams)))
    if (
        expected.again == "stopped"
    ):  # we start anew, later than the recording's operator did, and hear no more
        assert heard
        assert wanted.startswith(heard), told
    else:
        assert heard == wanted, told
    begun = {final["text"]: final["start_ms"] for final in finals}
    for sentence in leg.sentences:
        if sentence.saying.text in begun:  # two that follow at once can be one final
            said_at = streams[sentence.saying.script].said_at(sentence.saying.at_ms)
            said_ms = (said_at - outcome.call.created) * 1000
            late_ms = SLOW_MS * expected.slow + streams[sentence.saying.script].latest * 1000
            assert near(begun[sentence.saying.text], said_ms, NEAR_MS + late_ms)
            if sentence.saying.script == 0 and not expected.announced:  # those are heard sooner than recorded
                assert near(said_ms, sentence.call_ms + outcome.call.clock.waited * 1000)


def check_streams(leg: Leg, expected: Expected, outcome: Outcome) -> None:
    """Nobody is listened to before somebody hears him; a lost stream is started anew if nobody else does."""
    starts = len(outcome.streams(leg))
    if not leg.tapped:
        assert starts == 0
    elif expected.again == "us" and expected.fate == "heard":
        assert starts >= 2
    elif expected.again in ("", "itself") and expected.fate != "refused":
        assert starts == 1


def check_verdict(expected: Expected, ended: dict[str, Any]) -> None:
    """A call that was not heard, or not all of it, says so."""
    reasons = set(ended["reasons"])
    if expected.fate == "refused" or (expected.fate == "heard" and expected.again == "us"):
        assert reasons
    elif expected.fate == "silent":
        assert ended["ledger"]["arrived_ms"] == 0
    elif not expected.again and not expected.alone:
        # Some modules connect late, and so does a busy machine. The first of two in one stream to hang up is
        # sent silence until the other one does.
        late = {"drain"} if expected.stream == "stereo" else set()
        assert reasons <= {"tapped late"} | late
