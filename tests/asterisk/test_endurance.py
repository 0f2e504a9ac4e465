"""Many calls, a line that is cut again and again, a PBX that goes and comes: nothing of ours is ever left."""

import asyncio
import random
import re
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from bench.line import Line
from tests.asterisk.daemon import BridgeProcess, EmulatorProcess
from tests.asterisk.pbx import HANGUP, Asterisk, Call, Script, wait_for
from tests.asterisk.sockets import tcp_peers, udp_ports
from tests.asterisk.test_ami import over_ami
from tests.asterisk.test_calls import length_s, prompts
from tests.asterisk.test_taps import assert_heard, tapped
from tests.scale import scaled

CONTEXTS = {"ari": "from-phones", "ami": "unannounced"}
"""Where a call is taken up: announced, or by the rule of a site without ARI."""

SIDE_BY_SIDE = 10
APART_S = 0.15
"""From the beginning of one call to that of the next: a burst would have its taps too late for the first word
where the machine is slow."""
IDLE = 10
"""Connections that daemon and PBX keep for their next request."""


@pytest.fixture(scope="module")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmulatorProcess]:
    with EmulatorProcess(tmp_path_factory.mktemp("emulator"), "--recognition-ms", "100") as running:
        yield running


def daemon(
    pbx: Asterisk, rtzr: EmulatorProcess, folder: Path, via: str, tap: str, **asterisk: Any
) -> BridgeProcess:
    """By this way to the PBX, with this kind of tap."""
    if via == "ami":
        return over_ami(pbx, rtzr, folder, asterisk=asterisk)
    return tapped(pbx, rtzr, folder, tap, "rtp", asterisk=asterisk)


# Nothing is left.


def assert_nothing_left(
    pbx: Asterisk, bridge: BridgeProcess, rtzr: EmulatorProcess, timeout_s: float = 5
) -> None:
    """No channel, no bridge, no port and no socket of a call, on either side."""
    wait_for(lambda: not left(pbx, bridge, rtzr), timeout_s, lambda: f"{left(pbx, bridge, rtzr)}")
    begun, over = legs_and_calls(bridge, "started"), legs_and_calls(bridge, "ended")
    assert begun == over, f"{begun - over} {over - begun} {bridge.told()}"


def left(pbx: Asterisk, bridge: BridgeProcess, rtzr: EmulatorProcess) -> dict[str, Any]:
    """What is there yet, by what it is."""
    places = pbx.places
    rtp = range(places.rtp_first, places.rtp_last + 1)
    kept = (places.http_port, places.ami_port)
    found = {
        "channels": [one["name"] for one in pbx.channels()],
        "bridges": [one["id"] for one in pbx.ari("GET", "bridges") if one["bridge_type"] != "holding"],
        "RTP ports of the PBX": [port for port in udp_ports(pbx.pid) if port in rtp],
        "UDP ports of the daemon": udp_ports(bridge.pid),
        "streams to RTZR": rtzr.stats()["sockets_open"],
        "connections to the PBX": max(0, sum(port in kept for port in tcp_peers(bridge.pid)) - IDLE),
    }
    return {what: there for what, there in found.items() if there}


def legs_and_calls(bridge: BridgeProcess, what: str) -> Counter[str]:
    """How often each was told to have started or ended."""
    told = bridge.events()
    calls = [event["subject"] for event in told if event["type"] == f"rtzr.call.{what}"]
    return Counter(calls) + Counter(
        event["data"]["leg"] for event in told if event["type"] == f"rtzr.leg.{what}"
    )


# Many calls.


class Said(NamedTuple):
    """A call, and the sentences of its parties."""

    call: Call
    caller: int
    callee: int


def brief(number: int) -> tuple[int, int, Script, Script]:
    """Who says what, and the scripts: both at once, once their taps have had a second or two."""
    one, two = number % 12, (number + 7) % 12
    rest_s = max(length_s(one), length_s(two)) - length_s(one) + 0.6
    return one, two, [(0.9, f"s{one}"), (rest_s, HANGUP)], [(0.9, f"s{two}")]


def begin(pbx: Asterisk, number: int, via: str) -> Said:
    one, two, caller, callee = brief(number)
    return Said(pbx.two_party_call(caller, callee, ring_s=1.5, context=CONTEXTS[via]), one, two)


def in_a_row(pbx: Asterisk, calls: int, via: str) -> list[Said]:
    """So many calls, several side by side, to the end of the last."""
    made: list[Said] = []
    for number in range(calls):
        wait_for(lambda: going(pbx, made) < SIDE_BY_SIDE, 20, lambda: pbx.cli("core show channels"))
        made.append(begin(pbx, number, via))
        time.sleep(APART_S)
    wait_for(lambda: not pbx.channels(), 20, lambda: pbx.cli("core show channels"))
    return made


def going(pbx: Asterisk, made: list[Said]) -> int:
    here = {one["id"] for one in pbx.channels()}
    return sum(said.call.phone in here for said in made)


def rows(pbx: Asterisk, before: int, made: list[Said]) -> dict[str, dict[str, str]]:
    """By the caller's channel the call records since then, without what makes each call another."""
    wait_for(lambda: len(pbx.cdr_rows()) >= before + len(made), 5, lambda: f"{pbx.cdr_rows()[before:]}")
    found = pbx.cdr_rows()[before:]
    callers = [row.pop("uniqueid") for row in found]
    assert sorted(callers) == sorted(said.call.caller for said in made)
    for row in found:
        number = row["dst"]
        for key, value in row.items():
            row[key] = re.sub(r"-[0-9a-f]{8};", ";", value.replace(number, "number"))
    return dict(zip(callers, found, strict=True))


@pytest.fixture(scope="module")
def usual(shared_pbx: Asterisk) -> dict[str, dict[str, str]]:
    """The record of a call beside which no bridge runs, by the way that it would be taken up."""
    prompts(shared_pbx)
    before = len(shared_pbx.cdr_rows())
    made = {via: begin(shared_pbx, 0, via) for via in CONTEXTS}
    wait_for(lambda: not shared_pbx.channels(), 10, lambda: shared_pbx.cli("core show channels"))
    found = rows(shared_pbx, before, list(made.values()))
    return {via: found[said.call.caller] for via, said in made.items()}


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("via", "tap", "calls"),
    [
        ("ari", "chanspy", scaled(200, 12)),
        ("ami", "chanspy", scaled(60, 6)),
        ("ari", "snoop", scaled(60, 6)),
        ("ari", "external", scaled(60, 6)),
    ],
)
def test_many_calls_in_a_row_leave_nothing_and_change_no_record(
    pbx: Asterisk,
    emulator: EmulatorProcess,
    usual: dict[str, dict[str, str]],
    tmp_path: Path,
    via: str,
    tap: str,
    calls: int,
) -> None:
    with daemon(pbx, emulator, tmp_path, via, tap) as bridge:
        files, files_of_pbx, before = bridge.open_files(), open_files(pbx), len(pbx.cdr_rows())
        made = in_a_row(pbx, calls, via)
        for said in made:
            assert_heard(bridge, *said)
        assert_nothing_left(pbx, bridge, emulator)
        assert {event["subject"] for event in bridge.events()} == {said.call.id for said in made}
        assert all(row == usual[via] for row in rows(pbx, before, made).values())
        assert bridge.open_files() <= files + IDLE, bridge.told()
        assert open_files(pbx) <= files_of_pbx + IDLE, pbx.cli("core show channels")


def open_files(pbx: Asterisk) -> int:
    return len(list(Path(f"/proc/{pbx.pid}/fd").iterdir()))


# A line that is cut.


@pytest.mark.timeout(500)
@pytest.mark.parametrize(("via", "tap"), [("ami", "chanspy"), ("ari", "chanspy"), ("ari", "external")])
async def test_a_line_that_is_cut_again_and_again_leaves_nothing_behind(
    pbx: Asterisk, emulator: EmulatorProcess, tmp_path: Path, via: str, tap: str
) -> None:
    """At random moments, with calls coming and going: fifteen seconds later all is as it was."""
    async with Line("127.0.0.1", pbx.ami_port if via == "ami" else pbx.places.http_port) as line:
        address = (
            {"ami_port": line.port} if via == "ami" else {"ari_url": f"http://127.0.0.1:{line.port}/ari"}
        )
        bridge = daemon(pbx, emulator, tmp_path, via, tap, **address)
        try:
            await asyncio.to_thread(bridge.start)
            enough = threading.Event()
            load = asyncio.create_task(asyncio.to_thread(come_and_go, pbx, via, enough))
            try:
                await cut(line, scaled(100, 8) - 1)
                await cut_and_noticed(line, bridge, via)
                cut_s = time.monotonic()
            finally:
                enough.set()
                calls = await load
            await asyncio.to_thread(assert_all_well, pbx, bridge, emulator, via, cut_s + 15)
            assert len(bridge.events("call.started")) > calls / 4, bridge.told()
        finally:
            bridge.kill()


async def cut(line: Line, times: int) -> None:
    """Now and then, so that it is mended at once or after a while."""
    dice = random.Random(5)
    for _ in range(times):
        await asyncio.sleep(dice.uniform(0.05, 0.7))
        await line.outage(dice.choice((0, dice.uniform(0, 0.4))))


async def cut_and_noticed(line: Line, bridge: BridgeProcess, via: str) -> None:
    """Once more, and for so long that the daemon has to see it: whatever it says of a connection later is of
    another."""
    cutting = asyncio.create_task(line.outage(0.7))
    await asyncio.to_thread(bridge.wait, lambda: not follows(bridge, via), 0.7)
    await cutting


def come_and_go(pbx: Asterisk, via: str, enough: threading.Event) -> int:
    """Calls of one to three seconds, one begun every 0.3 s; how many."""
    dice = random.Random(6)
    calls = 0
    while not enough.wait(0.3):
        caller: Script = [(0.5, "s0"), (dice.uniform(0, 1.5), HANGUP)]
        pbx.two_party_call(caller, [(0.3, "s1")], ring_s=0.3, context=CONTEXTS[via])
        calls += 1
    return calls


def assert_all_well(
    pbx: Asterisk, bridge: BridgeProcess, rtzr: EmulatorProcess, via: str, until_s: float
) -> None:
    """It follows the PBX, hears the next call, and nothing is left by then."""
    bridge.wait(lambda: follows(bridge, via), until_s - time.monotonic())
    said = begin(pbx, 3, via)
    assert_heard(bridge, *said)
    assert_nothing_left(pbx, bridge, rtzr, max(1.0, until_s - time.monotonic()))


def follows(bridge: BridgeProcess, via: str) -> bool:
    """Whether it is connected to the PBX now."""
    printed = bridge.printed()
    return printed.count(f'"{via} connected"') > printed.count(f'"{via} connection ended"')


# A PBX that goes and comes.


@pytest.mark.timeout(200)
@pytest.mark.parametrize(
    ("via", "tap", "times"), [("ami", "chanspy", scaled(3)), ("ari", "external", scaled(3, 2))]
)
def test_a_pbx_that_stops_under_load_takes_its_calls_along_and_is_followed_again(
    asterisk_installed: None, emulator: EmulatorProcess, tmp_path: Path, via: str, tap: str, times: int
) -> None:
    with Asterisk() as pbx, daemon(pbx, emulator, tmp_path, via, tap) as bridge:
        calls = busy(pbx, bridge, via)
        for end in (pbx.kill, pbx.stop, pbx.kill)[:times]:
            end()
            bridge.wait(lambda: not follows(bridge, via), 5)
            pbx.start()
            bridge.wait(lambda: follows(bridge, via), 10)
            for call in calls:
                bridge.wait_for_end(call.id)
                causes = [event["data"]["cause"] for event in bridge.events("leg.ended", call.id)]
                assert len(causes) == 2
                # It may hang up, with a cause or without one, and go before it has told all.
                assert set(causes) <= {"gone", "cause 0", "cause 16"}
            assert_nothing_left(pbx, bridge, emulator)
            calls = busy(pbx, bridge, via)
        pbx.hangup_all()
        assert_nothing_left(pbx, bridge, emulator)


def busy(pbx: Asterisk, bridge: BridgeProcess, via: str) -> list[Call]:
    """Calls that go on for long, and are heard: begun at once, on a machine that may be busy with others."""
    script: Script = [(2, "s0"), (60, HANGUP)]
    calls = [pbx.two_party_call(script, [], ring_s=0.4, context=CONTEXTS[via]) for _ in range(6)]
    for call in calls:
        assert_begun(bridge, call)
    return calls


def assert_begun(bridge: BridgeProcess, call: Call) -> None:
    bridge.wait(lambda: bool(bridge.finals(call.id, "caller")))  # what the words are is others' to prove
