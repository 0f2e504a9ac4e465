"""`rtzr-bridge explain` with `pbx: freeswitch`: a live channel of an emulated one, and a recorded log."""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from bridge.cli import app
from bridge.emulator.freeswitch.knobs import SwitchKnobs
from bridge.emulator.freeswitch.switch import Switch
from bridge.wire.freeswitch import ANNOUNCED, CONFERENCE, EVENTS, VARIABLES_SET

PASSWORD = "of-our-own"
CAPTURES = Path(__file__).parent.parent / "captures" / "freeswitch"
CALL = "mas-01-mono-8k-caller-hangup"
RULES = [
    {"name": "emergency", "match": {"extension": "119"}, "tap": False},
    {"name": "acme", "match": {"variables": {"TENANT": "ac*"}}},
    {"name": "sales", "match": {"queue": "sales@*"}},
    {"name": "out", "match": {"direction": "out"}},
    {"name": "in", "match": {"direction": "in", "extension": "2*"}},
    {"name": "inside", "match": {"direction": "internal", "context": "default"}},
]


@pytest.fixture
async def switch() -> AsyncIterator[Switch]:
    async with Switch(SwitchKnobs(password=PASSWORD)) as switch:
        yield switch


def explained(folder: Path, port: int, *options: str, password: str = PASSWORD) -> Result:
    file = folder / "bridge.yaml"
    settings = {"pbx": "freeswitch", "freeswitch": {"esl_port": port, "request_timeout_s": 2}, "rules": RULES}
    file.write_text(json.dumps(settings), encoding="utf-8")
    environ = {"RTZR_CLIENT_ID": "", "RTZR_CLIENT_SECRET": "", "ESL_PASSWORD": password}
    result = CliRunner().invoke(app, ["explain", "-c", str(file), *options], env=environ)
    assert password not in result.output
    return result


async def live(folder: Path, port: int, channel: str, password: str = PASSWORD) -> tuple[int, list[str]]:
    """Exit code and lines, while this loop has the PBX."""
    result = await asyncio.to_thread(explained, folder, port, "--channel", channel, password=password)
    return result.exit_code, result.output.splitlines()


async def test_a_live_channel_is_asked_about_at_the_pbx(switch: Switch, tmp_path: Path) -> None:
    call = switch.call("01012345678", "2000", context="public", variables={"TENANT": "other"})
    await call.ring()
    code, lines = await live(tmp_path, switch.port, call.uuid)
    assert (code, lines[-1]) == (0, "It is transcribed, by in.")
    assert lines[:4] == [
        "no  emergency: extension is 2000, and should be 119",
        "no  acme: variables.TENANT is other, and should be ac*",
        "no  sales: queue is not known, and should be sales@*",
        "no  out: direction is in, and should be out",
    ]
    assert not [command for command in switch.commands if command.startswith("uuid_setvar")]


async def test_its_variables_and_its_queue_count(switch: Switch, tmp_path: Path) -> None:
    for variables, rule in [({"TENANT": "acme"}, "acme"), ({"cc_queue": "sales@default"}, "sales")]:
        call = switch.call("1001", "2000", variables=variables)
        await call.ring()
        assert (await live(tmp_path, switch.port, call.uuid))[1][-1] == f"It is transcribed, by {rule}."


async def test_whom_it_talks_to_says_its_direction(switch: Switch, tmp_path: Path) -> None:
    call = switch.call("1001", "0212345678")
    await call.ring()
    code, lines = await live(tmp_path, switch.port, call.uuid)
    assert (code, lines[-1][:19]) == (1, "No rule chooses it:")
    await call.answer()
    assert (await live(tmp_path, switch.port, call.uuid))[1][-1] == "It is transcribed, by inside."
    trunk = call.callee
    trunk.name = "sofia/external/0212345678@kt"
    assert (await live(tmp_path, switch.port, call.uuid))[1][-1] == "It is transcribed, by out."


async def test_of_a_callee_its_caller_is_asked_about(switch: Switch, tmp_path: Path) -> None:
    call = switch.call("01012345678", "2000", context="public")
    await call.ring()
    assert (await live(tmp_path, switch.port, call.callee.uuid))[1][-1] == "It is transcribed, by in."


async def test_what_cannot_be_asked_is_said_with_its_mend(switch: Switch, tmp_path: Path) -> None:
    code, (line,) = await live(tmp_path, switch.port, "not-there")
    assert (code, line) == (
        2,
        "--channel: no such live channel; take one from fs_cli -x 'show channels'",
    )
    code, (line,) = await live(tmp_path, switch.port, "x", password="wrong-password")
    assert code == 2
    assert line.startswith("freeswitch: the PBX refuses the password; give the password of event_socket")
    switch.knobs = replace(switch.knobs, acl_refuses=True)
    assert "apply-inbound-acl" in (await live(tmp_path, switch.port, "x"))[1][0]
    code, (line,) = await live(tmp_path, 9, "x")
    assert (code, line.endswith("see freeswitch.esl_host and esl_port")) == (2, True)


def events(name: str = CALL) -> list[str]:
    lines = (CAPTURES / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()
    found = [json.loads(line).get("event") for line in lines]
    return [json.dumps(event, ensure_ascii=False) for event in found if event is not None]


def from_log(folder: Path, text: str, *options: str) -> Result:
    log = folder / "esl.log"
    log.write_text(text, encoding="utf-8")
    return explained(folder, 1, "--from-log", str(log), *options)


def test_a_log_is_explained_as_it_comes_out_of_the_socket_too(tmp_path: Path) -> None:
    plain = from_log(tmp_path, "\n".join(events()))
    header = "Content-Length: 1\nContent-Type: text/event-json\n\n"
    login = "Content-Type: auth/request\n\nContent-Type: command/reply\nReply-Text: +OK accepted\n\n"
    dumped = from_log(tmp_path, login + "".join(f"{header}{event}" for event in events()))
    assert (plain.exit_code, plain.output) == (0, dumped.output)
    lines = plain.output.splitlines()
    assert lines[0].startswith("call ea5d23ba-c404-4a80-b572-cb8b00366c4b  2026-11-22 ")
    assert lines[1].startswith("    context default, extension 2000, caller 1001, channel sofia/lo/1001@")
    assert lines[-1].startswith("It is transcribed, by inside.")


async def test_a_log_is_recorded_as_the_page_on_rules_says(switch: Switch, tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "rules.md").read_text(encoding="utf-8")
    names = re.findall(r"""^\$ events=['"](?:\$events )?(.+)['"]$""", page, re.MULTILINE)
    subscription = f"event json {' '.join(names)}"
    assert set(EVENTS) | {VARIABLES_SET, ANNOUNCED, CONFERENCE} == set(subscription.split()) - {
        "event",
        "json",
        "CUSTOM",
    }
    reader, writer = await asyncio.open_connection("127.0.0.1", switch.port)
    writer.write(f"auth {PASSWORD}\n\n{subscription}\n\n".encode())
    log = bytearray(await reader.readuntil(b"enabled json\n\n"))
    call = switch.call("1001", "2000", context="public")
    await call.ring()
    await call.answer()
    await call.hang_up()
    async with asyncio.timeout(5):
        while log.count(b'"CHANNEL_DESTROY"') < 2:
            log += await reader.read(65536)
    writer.close()
    result = from_log(tmp_path, log.decode())
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.splitlines()[-1].startswith("It is transcribed, by in.")


def test_a_log_says_of_every_line_that_cannot_be_read(tmp_path: Path) -> None:
    result = from_log(
        tmp_path, "\n".join([*events(), '{"Event-Name": "CHANNEL_CREATE"}', '{"broken']), "--json"
    )
    document = json.loads(result.stdout)
    assert (document["log"], len(document["calls"]), document["calls"][0]["rule"]) == (
        "ESL events",
        1,
        "inside",
    )
    assert [one["why"] for one in document["unread"]] == [
        "is no event of ESL: time of an event is not a number",
        "is no event of ESL: not JSON",
    ]


def test_an_announced_call_is_told_as_such(tmp_path: Path) -> None:
    first = json.loads(next(event for event in events() if '"CHANNEL_CREATE"' in event))
    announced = {
        **first,
        "Event-Name": "CUSTOM",
        "Event-Subclass": "rtzr::call",
        "Caller-Context": "other",
        "variable_RTZR_CALL": f"{first['Unique-ID']}/{first['Unique-ID']}",
    }
    result = from_log(
        tmp_path, f"{json.dumps({**first, 'Caller-Context': 'other'})}\n{json.dumps(announced)}"
    )
    assert result.output.splitlines()[-1].startswith("It is transcribed: the dialplan announced it.")


def test_a_log_of_the_other_pbx_is_refused_with_what_mends_it(tmp_path: Path) -> None:
    asterisk = (CAPTURES.parent / "asterisk" / "ami.txt").read_text(encoding="utf-8")
    result = from_log(tmp_path, asterisk)
    assert result.exit_code == 2
    assert "has AMI events in it, which are asterisk's, and pbx is freeswitch" in result.output
    file = tmp_path / "asterisk.yaml"
    file.write_text("pbx: asterisk\n", encoding="utf-8")
    log = tmp_path / "esl.log"
    log.write_text("\n".join(events()), encoding="utf-8")
    result = CliRunner().invoke(app, ["explain", "-c", str(file), "--from-log", str(log)], env={})
    assert (result.exit_code, "set pbx: freeswitch" in result.output) == (2, True)
