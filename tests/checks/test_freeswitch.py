"""`rtzr-bridge check` beside an emulated FreeSWITCH (bridge/checks/freeswitch.py): each fault is named."""

import asyncio
import json
import os
import socket
from collections.abc import AsyncIterator
from contextlib import aclosing, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import certifi
import pytest
from typer.testing import CliRunner

from bridge.admin.opening import open_control
from bridge.checks import freeswitch as freeswitch_checks
from bridge.checks.finding import Finding, Verdict
from bridge.cli import app
from bridge.config import Config, Secrets
from bridge.emulator.freeswitch.knobs import Module, SwitchKnobs
from bridge.emulator.freeswitch.switch import Switch
from bridge.emulator.server import Emulator, Knobs
from bridge.wire.pbxevents import ChannelCreated, Connected
from bridge.wiring import build_freeswitch
from tests.asterisk.pbx import free_tcp_port

PASSWORD = "of-our-own"
OWN = SwitchKnobs(password=PASSWORD)


@pytest.fixture
async def switch() -> AsyncIterator[Switch]:
    async with Switch(OWN) as switch:
        yield switch


def behind_a_free_one() -> socket.socket:
    """A port that is taken, while the one before it is free."""
    while True:
        taken = socket.create_server(("127.0.0.1", 0))
        with suppress(OSError), socket.create_server(("127.0.0.1", taken.getsockname()[1] - 1)):
            return taken
        taken.close()


def settings(switch: Switch, *, media: dict[str, Any] | None = None, **freeswitch: Any) -> dict[str, Any]:
    return {
        "pbx": "freeswitch",
        "freeswitch": {"esl_port": switch.port, "request_timeout_s": 2, "media_wait_s": 1, **freeswitch},
        "media": {"websocket_port": free_tcp_port(), **(media or {})},
    }


async def checked(
    switch: Switch, *, call: bool = False, password: str = PASSWORD, workers: int | str = 1, **given: Any
) -> dict[str, Finding]:
    """The findings by name; each that is not well has its mend, and none the password."""
    config = Config.model_validate({**settings(switch, **given), "workers": workers})
    found = await freeswitch_checks.findings(
        config.with_secrets(Secrets(client_id="", client_secret="", esl_password=password)), call=call
    )
    assert all(one.mend for one in found if one.verdict is not Verdict.OK), found
    assert password not in repr(found)
    return {one.name: one for one in found}


def bad(found: dict[str, Finding]) -> dict[str, Verdict]:
    return {one.name: one.verdict for one in found.values() if one.verdict is not Verdict.OK}


WELL = ["media ports", "freeswitch", "module", "pbx clock", "variables"]


async def test_all_is_well_and_nothing_is_changed(switch: Switch) -> None:
    found = await checked(switch)
    assert (list(found), bad(found)) == (WELL, {})
    assert found["freeswitch"].text.startswith("FreeSWITCH Version 1.10.12")
    assert f"127.0.0.1:{switch.port}" in found["freeswitch"].text
    assert {command.partition(" ")[0] for command in switch.commands} <= {
        "version",
        "module_exists",
        "strepoch",
        "global_getvar",
    }
    assert switch.sessions == 0


@pytest.mark.parametrize(
    ("knobs", "freeswitch", "said"),
    [
        ({}, {}, "slin "),
        ({"module": Module.AUDIO_STREAM_OLD}, {"rate": 16_000}, "slin16 "),
        ({"module": Module.AUDIO_FORK}, {"rate": 24_000, "module": "audio_fork"}, "slin24 "),
    ],
)
async def test_a_tone_comes_through_a_real_stream(
    switch: Switch, knobs: dict[str, Any], freeswitch: dict[str, Any], said: str
) -> None:
    switch.knobs = replace(switch.knobs, **knobs)
    found = await checked(switch, call=True, **freeswitch)
    expected = [*WELL, "tap", "clean"]
    if switch.knobs.module is Module.AUDIO_FORK:
        expected.remove("variables")
    assert (list(found), bad(found)) == (expected, {}), found
    assert f"as {said}" in found["tap"].text
    assert (switch.sessions, switch.channels) == (2, {})
    (stream,) = switch.streams
    assert stream.order.mix == "mono"


async def test_a_daemon_that_follows_the_pbx_does_not_see_the_checks_call(switch: Switch) -> None:
    """Nobody is in it."""
    secrets = Secrets(client_id="", client_secret="", esl_password=PASSWORD)
    follower = build_freeswitch(Config.model_validate(settings(switch)).with_secrets(secrets))
    async with follower, aclosing(follower.events()) as events, asyncio.timeout(10):
        assert isinstance(await anext(events), Connected)
        assert bad(await checked(switch, call=True)) == {}
        call = switch.call("1001", "2000")
        await call.ring()
        event = await anext(events)
        assert isinstance(event, ChannelCreated)
        assert event.channel.id == call.uuid


FAULTS: dict[str, tuple[dict[str, Any], dict[str, Any], str, str, str]] = {
    # what is wrong there, what is configured; the finding, a word of its text and of its mend
    "password": ({"password": "another"}, {}, "freeswitch", "refuses the password", "ESL_PASSWORD"),
    "access list": ({"acl_refuses": True}, {}, "freeswitch", "access list", "apply-inbound-acl"),
    "closed": ({}, {"esl_port": 9}, "freeswitch", "127.0.0.1:9", "listen-port"),
    "no module": ({"module": Module.NONE}, {}, "module", "neither", "load mod_audio_stream"),
    "other module": (
        {"module": Module.AUDIO_FORK},
        {"module": "audio_stream"},
        "module",
        "and mod_audio_fork is",
        "load mod_audio_stream",
    ),
    "this module": (
        {"module": Module.NONE},
        {"module": "audio_fork"},
        "module",
        "audio_fork",
        "load mod_audio_fork",
    ),
    "buffer": (
        {"settings": (("STREAM_BUFFER_SIZE", "50"),)},
        {},
        "variables",
        "no multiple of 20",
        "global_setvar STREAM_BUFFER_SIZE=",
    ),
    "certificate": (
        {},
        {"media_tls_cert": certifi.where(), "media_tls_key": certifi.where()},
        "media tls",
        "will not do",
        "belong together",
    ),
    "certificate's file": (
        {},
        {"media_tls_cert": "/no/such", "media_tls_key": "/no/such"},
        "media tls",
        "No such file",
        "media_tls_cert",
    ),
}


@pytest.mark.parametrize(("knobs", "freeswitch", "name", "text", "mend"), FAULTS.values(), ids=FAULTS)
async def test_each_fault_is_named_with_its_mend(
    switch: Switch, knobs: dict[str, Any], freeswitch: dict[str, Any], name: str, text: str, mend: str
) -> None:
    switch.knobs = replace(switch.knobs, **knobs)
    began_s = asyncio.get_running_loop().time()
    found = await checked(switch, call=name == "module", **freeswitch)
    assert asyncio.get_running_loop().time() - began_s < 5
    assert bad(found) == {name: Verdict.FAULT}
    assert (text in found[name].text, mend in found[name].mend) == (True, True), found[name]
    assert switch.sessions == 0


WARNINGS: dict[str, tuple[dict[str, Any], dict[str, Any], str, str]] = {
    "old": ({"version": "1.8.7"}, {}, "version", "older than"),
    "new": ({"version": "1.12.0-dev"}, {}, "version", "other than"),
    "clock": ({"ahead_s": 60}, {}, "pbx clock", "behind"),
    "stereo": ({}, {"stream": "stereo"}, "stream", "fall behind"),
    "buffer": ({"settings": (("STREAM_BUFFER_SIZE", "100"),)}, {}, "variables", "is 100 for all calls"),
}


@pytest.mark.parametrize(("knobs", "freeswitch", "name", "text"), WARNINGS.values(), ids=WARNINGS)
async def test_what_may_harm_is_warned_of(
    switch: Switch, knobs: dict[str, Any], freeswitch: dict[str, Any], name: str, text: str
) -> None:
    switch.knobs = replace(switch.knobs, **knobs)
    found = await checked(switch, **freeswitch)
    assert bad(found) == {name: Verdict.WARNING}
    assert text in found[name].text


async def test_the_password_that_all_know_is_warned_of() -> None:
    async with Switch() as switch:
        config = Config.model_validate(settings(switch))
        known = config.with_secrets(Secrets(client_id="", client_secret="", esl_password="ClueCon"))
        found = {one.name: one for one in await freeswitch_checks.findings(known, call=False)}
    assert bad(found) == {"password": Verdict.WARNING}


@pytest.mark.parametrize("version", ["1.10.7-release", "1.11.2-release"])
async def test_what_was_tested_needs_no_word(switch: Switch, version: str) -> None:
    switch.knobs = replace(switch.knobs, version=version)
    assert bad(await checked(switch)) == {}


async def test_of_two_modules_the_one_that_is_taken_is_told(switch: Switch) -> None:
    switch.knobs = replace(switch.knobs, also_loaded=(Module.AUDIO_FORK,))
    found = await checked(switch)
    assert bad(found) == {}
    assert "mod_audio_stream and mod_audio_fork are loaded: mod_audio_stream is taken" in found["module"].text


async def test_the_port_of_any_worker_can_be_another_programs(
    switch: Switch, monkeypatch: pytest.MonkeyPatch
) -> None:
    with behind_a_free_one() as taken:
        port = taken.getsockname()[1]
        found = await checked(switch, workers=2, media={"websocket_port": port - 1})
        assert bad(found) == {"media ports": Verdict.FAULT}
        assert f"{port} of 127.0.0.1 is not to be had (Address already in use)" in found["media ports"].text
        assert "daemon" in found["media ports"].mend
        found = await checked(switch, call=True, media={"websocket_port": port})
    assert bad(found) == {"media ports": Verdict.FAULT, "tap": Verdict.FAULT}
    assert "daemon" in found["tap"].mend
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1}, raising=False)
    found = await checked(switch, workers="auto", media={"websocket_port": 65_535})
    assert "no such ports" in found["media ports"].text
    found = await checked(switch, media={"bind": "192.0.2.1"})
    assert "media.bind" in found["media ports"].mend


async def test_a_port_that_the_running_daemon_has_is_no_fault(switch: Switch, tmp_path: Path) -> None:
    path = str(tmp_path / "admin.sock")
    with behind_a_free_one() as taken:
        media = {"websocket_port": taken.getsockname()[1]}
        given = settings(switch, media=media) | {"admin": {"socket": path}, "workers": 1}
        config = Config.model_validate(given).with_secrets(
            Secrets(client_id="", client_secret="", esl_password=PASSWORD)
        )
        async with open_control(config, None):
            found = {one.name: one for one in await freeswitch_checks.findings(config, call=False)}
    assert found["media ports"].verdict is Verdict.OK
    assert found["media ports"].text.endswith("the daemon's that runs")


TAPS: dict[str, tuple[dict[str, Any], str, str]] = {
    "unreachable": ({"never_connect": True}, "has not reached us", "can FreeSWITCH reach 127.0.0.1 at TCP"),
    "refused": ({"refuse_start": True}, "Operation Failed", "FreeSWITCH's log"),
    "mute": ({"mute": True}, "no audio came", "load mod_tone_stream"),
    "changed": ({"tone_off_hz": 300}, "came back changed", "freeswitch.rate"),
    "no loopback": ({"loopback": False}, "CHAN_NOT_IMPLEMENTED", "load mod_loopback"),
}


@pytest.mark.parametrize(("knobs", "text", "mend"), TAPS.values(), ids=TAPS)
async def test_a_stream_that_fails_is_told_with_its_mend_and_leaves_nothing(
    switch: Switch, knobs: dict[str, Any], text: str, mend: str
) -> None:
    switch.knobs = replace(switch.knobs, **knobs)
    found = await checked(switch, call=True)
    assert bad(found) == {"tap": Verdict.FAULT}
    assert (text in found["tap"].text, mend in found["tap"].mend) == (True, True), found["tap"]
    assert switch.channels == {}


async def test_a_call_of_which_nothing_is_heard_any_more_is_not_called_gone(switch: Switch) -> None:
    """What is not answered in time ends the connection; the call then ends with its tone."""
    switch.knobs = replace(switch.knobs, swallow=("originate",))
    found = await checked(switch, call=True, request_timeout_s=0.2)
    assert bad(found) == {"tap": Verdict.FAULT, "clean": Verdict.WARNING}
    assert "no reply to originate" in found["tap"].text
    assert "show channels" in found["clean"].mend


async def test_the_command_prints_one_document_and_its_exit_code_says_it(
    switch: Switch, tmp_path: Path
) -> None:
    usual = Knobs()
    environ = {
        "RTZR_CLIENT_ID": usual.client_id,
        "RTZR_CLIENT_SECRET": usual.client_secret,
        "ESL_PASSWORD": PASSWORD,
    }
    async with Emulator(usual) as rtzr:
        urls = {"auth_url": rtzr.auth_url, "stream_url": rtzr.stream_url}
        file = tmp_path / "bridge.yaml"
        file.write_text(json.dumps({**settings(switch), "rtzr": urls}), encoding="utf-8")
        arguments = ["check", "-c", str(file), "--call", "--json"]
        result = await asyncio.to_thread(CliRunner().invoke, app, arguments, env=environ)
        document = json.loads(result.stdout)
        assert (result.exit_code, document["ok"]) == (0, True), result.output
        names = [one["name"] for one in document["findings"]]
        assert names == ["configuration", "rtzr token", "rtzr clock", "rtzr session", *WELL, "tap", "clean"]
        switch.knobs = replace(switch.knobs, module=Module.NONE)
        arguments = ["check", "-c", str(file)]
        result = await asyncio.to_thread(CliRunner().invoke, app, arguments, env=environ)
        assert result.exit_code == 1
        assert "load mod_audio_stream" in result.stdout
