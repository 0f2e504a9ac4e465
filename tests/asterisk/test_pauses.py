"""Pauses on a real Asterisk: what arrives at RTZR is compared with what was said."""

import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from bridge.emulator.codebook import SENTENCES
from tests.asterisk.daemon import BridgeProcess, EmulatorProcess
from tests.asterisk.pbx import HANGUP, Asterisk, wait_for
from tests.asterisk.test_calls import prompts
from tests.hearing import HearingThread

BEFORE, SECRET, AFTER = 0, 5, 2


@pytest.fixture
def rtzr() -> Iterator[HearingThread]:
    with HearingThread() as running:
        yield running


def press(pbx: Asterisk, channel: str, keys: str) -> None:
    """Keys of the telephone on this channel, one after the other."""
    name = next(one["name"] for one in pbx.channels() if one["id"] == channel)
    with socket.create_connection(("127.0.0.1", pbx.ami_port), timeout=5) as line:
        answers = line.makefile("r", newline="\r\n")
        actions = [{"Action": "Login", "Username": pbx.username, "Secret": pbx.password, "Events": "off"}]
        actions += [
            {"Action": "PlayDTMF", "Channel": name, "Digit": key, "Duration": "100", "Receive": "true"}
            for key in keys
        ]
        for action in actions:
            line.sendall("".join(f"{key}: {value}\r\n" for key, value in action.items()).encode() + b"\r\n")
            reply = iter(answers.readline, "\r\n")
            assert "Response: Success\r\n" in list(reply)


def set_variable(pbx: Asterisk, channel: str, value: str) -> None:
    pbx.ari("POST", "asterisk/variable", variable=f"EXPORT({channel},RTZR_PAUSE)", value=value)


def user_event(pbx: Asterisk, channel: str, name: str) -> None:
    pbx.ari("POST", f"events/user/{name}", application="rtzr-bridge", source=f"channel:{channel}")


Way = Callable[[Asterisk, str], None]
WAYS: dict[str, tuple[Way, Way]] = {
    "ari": (lambda pbx, one: user_event(pbx, one, "RTZRPause"), lambda pbx, one: press(pbx, one, "*8")),
    "ami": (lambda pbx, one: press(pbx, one, "*7"), lambda pbx, one: set_variable(pbx, one, "0")),
}


@pytest.mark.parametrize("via", WAYS)
def test_paused_and_resumed_from_the_pbx_nothing_of_the_pause_leaves(
    pbx: Asterisk, rtzr: HearingThread, tmp_path: Path, via: str
) -> None:
    prompts(pbx)
    pause, resume = WAYS[via]
    changes: dict[str, Any] = {
        "pause": {"variable": True, "dtmf": "*7", "resume_dtmf": "*8"},
        "asterisk": {"via": via},
    }
    emulator = cast("EmulatorProcess", rtzr)  # its port is all that is asked
    with BridgeProcess(pbx, emulator, tmp_path, **changes) as bridge:
        script = [(0.8, f"s{BEFORE}"), (4.0, f"s{SECRET}"), (4.0, f"s{AFTER}"), (1.5, HANGUP)]
        call = pbx.two_party_call(script, [])
        bridge.wait(lambda: len(bridge.finals(call.id, "caller")) == 1)
        pause(pbx, call.caller)
        bridge.wait(lambda: bool(bridge.events("call.paused", call.id)))
        bridge.wait(lambda: rtzr.sockets_open == 0)
        wait_for(lambda: pbx.variable(call.caller, "RTZR_PAUSE") == "1", 5, bridge.told)
        rtzr.cut()
        wait_for(lambda: pbx.variable(call.phone, "N") == "3", 15, bridge.told)  # the secret was said
        resume(pbx, call.caller)
        bridge.wait(lambda: bool(bridge.events("call.resumed", call.id)))
        ended = bridge.wait_for_end(call.id)
        assert bridge.finals(call.id, "caller") == [SENTENCES[BEFORE], SENTENCES[AFTER]]
    assert rtzr.heard(SECRET) == 0
    assert rtzr.heard(BEFORE) > 3
    assert rtzr.heard(AFTER) > 3
    assert ended["verdict"] == "complete"
    assert ended["ledger"]["lost_ms"] == 0
    assert ended["ledger"]["paused_ms"] > 1000
