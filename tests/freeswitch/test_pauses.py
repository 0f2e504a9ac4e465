"""Pauses beside an emulated FreeSWITCH: what arrives at RTZR is compared with what was said."""

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from bridge.emulator.codebook import SENTENCES
from bridge.emulator.freeswitch.call import Call
from bridge.emulator.freeswitch.channel import Channel
from tests.asterisk.daemon import EmulatorProcess
from tests.freeswitch.daemon import FreeSwitchBridge
from tests.freeswitch.site import SwitchThread
from tests.hearing import HearingThread
from tests.scale import some

BEFORE, SECRET, AFTER = 0, 5, 2


@pytest.fixture
def rtzr() -> Iterator[HearingThread]:
    with HearingThread() as running:
        yield running


@pytest.fixture
def pbx() -> Iterator[SwitchThread]:
    with SwitchThread() as running:
        yield running


class Site:
    """A daemon with a control socket, and who gives it orders."""

    def __init__(self, pbx: SwitchThread, rtzr: HearingThread, folder: Path, **changes: Any) -> None:
        self._socket = folder / "admin.sock"
        self.rtzr = rtzr
        self.pbx = pbx
        admin = {"admin": {"socket": str(self._socket)}}
        emulator = cast("EmulatorProcess", rtzr)  # its port is all that is asked
        self.bridge = FreeSwitchBridge(pbx.port, emulator, folder, **admin, **changes)

    def order(self, what: str, call: str) -> dict[str, Any]:
        """As an administrator does."""
        command = [sys.executable, "-m", "bridge", what, call, "--socket", str(self._socket), "--json"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
        assert done.returncode == 0, done.stderr
        answer: dict[str, Any] = json.loads(done.stdout)
        return answer

    def text(self, call: Call) -> list[str]:
        finals = [event["data"] for event in self.bridge.events("transcript.final", call.uuid)]
        return [final["text"] for final in sorted(finals, key=lambda final: int(final["start_ms"]))]

    def told(self, call: Call) -> list[tuple[str, str]]:
        """When it was paused and resumed, and by whom."""
        events = self.bridge.events("", call.uuid)
        short = [(event["type"].rpartition(".")[2], event["data"].get("by", "")) for event in events]
        return [(what, by) for what, by in short if what in ("paused", "resumed")]

    def paused(self, call: Call) -> None:
        """Wait until it is, and no session is left."""
        self.bridge.wait(lambda: bool(self.told(call)) and self.told(call)[-1][0] == "paused")
        self.bridge.wait(lambda: self.rtzr.sockets_open == 0)

    def resumed(self, call: Call) -> None:
        self.bridge.wait(lambda: self.told(call)[-1][0] == "resumed")

    def assert_kept(self, call: Call, texts: list[int]) -> None:
        """The call is over: what was said in the pause is nowhere, all else is told."""
        ended = self.bridge.wait_for_end(call.uuid)
        assert self.text(call) == [SENTENCES[number] for number in texts], self.bridge.told()
        assert self.rtzr.heard(SECRET) == 0
        assert (self.rtzr.heard(BEFORE) > 3) == (BEFORE in texts)
        assert self.rtzr.heard(AFTER) > 3
        assert ended["ledger"]["paused_ms"] > 1000
        assert ended["ledger"]["lost_ms"] == 0


@pytest.mark.parametrize(
    ("mode", "workers"), [("hybrid", 1), *some(("hybrid", 2), ("vad", 1), ("vad", 2))], ids=str
)
def test_paused_by_command_and_resumed_whatever_breaks_meanwhile(
    pbx: SwitchThread, rtzr: HearingThread, tmp_path: Path, workers: int, mode: str
) -> None:
    site = Site(pbx, rtzr, tmp_path, workers=workers, gate={"mode": mode})
    with site.bridge as bridge:
        call = pbx.call()
        pbx.say((call.caller, BEFORE))
        bridge.wait(lambda: len(site.text(call)) == 1)
        rtzr.cut()
        paused = site.order("pause", call.uuid[:13])
        assert (paused["id"], paused["paused"]) == (call.uuid, True)
        site.paused(call)
        pbx.do(pbx.cut())
        pbx.say((call.caller, SECRET))
        if workers > 1:
            for child in bridge.children():
                subprocess.run(["kill", "-9", str(child)], check=True)
            bridge.wait(lambda: len(bridge.children()) == workers and bridge.printed().count("taken up") == 2)
        pbx.do(pbx.drop())
        pbx.say((call.caller, SECRET))
        assert not site.order("resume", call.uuid)["paused"]
        pbx.say((call.caller, AFTER))
        pbx.do(call.hang_up())
        site.assert_kept(call, [BEFORE, AFTER])
        assert site.told(call) == [("paused", "command"), ("resumed", "command")]


def test_a_pause_outlives_the_daemon_and_consent_does_too(
    pbx: SwitchThread, rtzr: HearingThread, tmp_path: Path
) -> None:
    rules = [{"name": "all", "consent": "required"}]
    site = Site(pbx, rtzr, tmp_path, rules=rules)
    with site.bridge as bridge:
        call = pbx.call()
        site.paused(call)
        pbx.say((call.caller, SECRET))
        bridge.kill()
        bridge.start()
        bridge.wait(lambda: len(site.told(call)) == 2)
        pbx.say((call.caller, SECRET))
        site.order("resume", call.uuid)
        bridge.wait(lambda: call.caller.variables.get("RTZR_PAUSE") == "0")
        bridge.kill()
        bridge.start()
        bridge.wait(lambda: pbx.streamed(call.caller))
        pbx.say((call.caller, AFTER))
        site.order("pause", call.uuid)
        bridge.wait(lambda: call.caller.variables.get("RTZR_PAUSE") == "1")
        bridge.kill()
        bridge.start()
        bridge.wait(lambda: site.told(call)[-1] == ("paused", "variable"))
        pbx.say((call.caller, SECRET))
        pbx.do(call.hang_up())
        site.assert_kept(call, [AFTER])


def test_paused_by_the_dialplan_and_by_keys(pbx: SwitchThread, rtzr: HearingThread, tmp_path: Path) -> None:
    ways = {"variable": True, "dtmf": "*7", "resume_dtmf": "*8"}
    site = Site(pbx, rtzr, tmp_path, pause=ways)

    async def fire(name: str, channel: Channel, *extra: tuple[str, str]) -> None:
        pbx.switch.fire(name, channel, list(extra))

    async def press(channel: Channel, keys: str) -> None:
        for key in keys:
            await fire("DTMF", channel, ("DTMF-Digit", key), ("DTMF-Duration", "2000"))
            await asyncio.sleep(0.05)

    async def set_(channel: Channel, value: str) -> None:
        channel.variables["RTZR_PAUSE"] = value
        await fire(
            "CHANNEL_EXECUTE_COMPLETE",
            channel,
            ("Application", "set"),
            ("Application-Data", f"RTZR_PAUSE={value}"),
        )

    with site.bridge as bridge:
        call = pbx.call()
        bridge.wait(lambda: pbx.streamed(call.callee))
        for begin, end in (
            (press(call.caller, "1*7"), press(call.callee, "*8")),
            (fire("CUSTOM", call.caller, ("Event-Subclass", "rtzr::pause")),
             fire("CUSTOM", call.caller, ("Event-Subclass", "rtzr::resume"))),
            (set_(call.callee, "1"), set_(call.callee, "0")),
        ):  # fmt: skip
            pbx.do(begin)
            site.paused(call)
            pbx.say((call.callee, SECRET))
            pbx.do(end)
            site.resumed(call)
            pbx.say((call.callee, AFTER))
        pbx.do(call.hang_up())
        site.assert_kept(call, [AFTER] * 3)
    ways_used = [by for what, by in site.told(call) if what == "paused"]
    assert ways_used == ["keys", "event", "variable"]
