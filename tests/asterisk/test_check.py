"""`rtzr-bridge check` beside a real Asterisk: all green on the tests' own, each fault named on another."""

import json
import re
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from bridge.checks import asterisk as asterisk_checks
from bridge.cli import app
from tests.asterisk.daemon import BridgeProcess, EmulatorProcess
from tests.asterisk.pbx import HANGUP, Asterisk, free_tcp_port, wait_for
from tests.asterisk.pbx_config import ALMIGHTY, READER, SILENT
from tests.asterisk.test_calls import prompts

ENVIRON = {"RTZR_CLIENT_ID": "demo", "RTZR_CLIENT_SECRET": "demo-secret"}


@pytest.fixture(scope="module")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmulatorProcess]:
    with EmulatorProcess(tmp_path_factory.mktemp("emulator")) as running:
        yield running


def checked(
    pbx: Asterisk, rtzr: int, folder: Path, *, password: str = "", asterisk: dict[str, Any], **sections: Any
) -> tuple[int, dict[str, dict[str, str]]]:
    """The exit code, and the findings by name."""
    base = f"127.0.0.1:{rtzr}/v1"
    settings = {
        "rtzr": {
            "auth_url": f"http://{base}/authenticate",
            "stream_url": f"ws://{base}/transcribe:streaming",
        },
        "asterisk": {
            "ari_url": pbx.ari_url,
            "ami_port": pbx.ami_port,
            "username": pbx.username,
            "request_timeout_s": 2,
            "rtp_range": [pbx.places.rtp_first, pbx.places.rtp_last],
            **asterisk,
        },
        "media": {"first_port": 52_000, "last_port": 52_009},
        **sections,
    }
    file = folder / "check.yaml"
    file.write_text(json.dumps(settings), encoding="utf-8")
    password = password or pbx.password
    environ = {**ENVIRON, "ARI_PASSWORD": password, "AMI_SECRET": password}
    result = CliRunner().invoke(app, ["check", "-c", str(file), "--json"], env=environ)
    document = json.loads(result.stdout)
    assert document["ok"] == (result.exit_code == 0)
    assert password not in result.output
    return result.exit_code, {one["name"]: one for one in document["findings"]}


def faults(findings: dict[str, dict[str, str]]) -> list[str]:
    assert all(one["mend"] for one in findings.values() if one["verdict"] != "ok")
    return [name for name, one in findings.items() if one["verdict"] == "fault"]


@pytest.mark.parametrize(("via", "codec"), [("ari", "ulaw"), ("ari", "slin"), ("ami", "alaw")])
def test_all_is_well(pbx: Asterisk, emulator: EmulatorProcess, tmp_path: Path, via: str, codec: str) -> None:
    media = {"first_port": 52_000, "last_port": 52_009, "codec": codec}
    rows = len(pbx.cdr_rows())
    code, found = checked(pbx, emulator.port, tmp_path, asterisk={"via": via}, media=media)
    assert (code, {one["verdict"] for one in found.values()}) == (0, {"ok"}), found
    expected = [
        "configuration",
        "rtzr token",
        "rtzr clock",
        "rtzr session",
        "media ports",
        "asterisk",
        "modules",
        "pbx clock",
        "rtp range",
        "http sessions",
        "rights",
        "tap",
        "clean",
    ]
    others = {"ari": {"rights"}, "ami": {"modules", "http sessions"}}
    assert list(found) == [name for name in expected if name not in others[via]]
    assert found["rtp range"]["text"].endswith("; as rtp.conf has it")
    assert f"as {codec}" in found["tap"]["text"]
    assert len(pbx.cdr_rows()) == rows
    wait_for(lambda: emulator.stats()["sockets_open"] == 0, 5, str)


@pytest.mark.parametrize(
    ("tap", "transport", "via"),
    [
        ("snoop", "rtp", "ari"),
        ("external", "websocket", "ari"),
        ("chanspy", "audiosocket", "ami"),
        ("external", "websocket_client", "ari"),
    ],
)
def test_the_tone_goes_the_way_that_calls_will(
    pbx: Asterisk, emulator: EmulatorProcess, tmp_path: Path, tap: str, transport: str, via: str
) -> None:
    ports = {"audiosocket_port": free_tcp_port(), "websocket_port": pbx.places.media_port}
    way = {"tap": tap, "transport": transport, "via": via}
    code, found = checked(
        pbx, emulator.port, tmp_path, asterisk=way, media={"first_port": 52_000, "last_port": 52_009, **ports}
    )
    assert (code, faults(found)) == (0, []), found["tap"]
    assert f"({tap} over {transport})" in found["tap"]["text"]
    assert ("no RTP port" in found["rtp range"]["text"]) == (transport != "rtp")
    assert found["clean"]["verdict"] == "ok"
    assert not [one for one in pbx.ari("GET", "bridges") if one["id"].startswith("rtzr-bridge.")]


def test_a_port_that_another_program_has_is_named(
    pbx: Asterisk, emulator: EmulatorProcess, tmp_path: Path
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        media = {"first_port": 52_000, "last_port": 52_009, "audiosocket_port": taken.getsockname()[1]}
        way = {"tap": "chanspy", "transport": "audiosocket"}
        code, found = checked(pbx, emulator.port, tmp_path, asterisk=way, media=media)
    assert (code, faults(found)) == (1, ["tap"])
    assert "daemon" in found["tap"]["mend"]


def test_each_fault_is_named(pbx: Asterisk, emulator: EmulatorProcess, tmp_path: Path) -> None:
    code, found = checked(pbx, 9, tmp_path, asterisk={"tap_context": "not-there"})
    assert (code, faults(found)) == (1, ["rtzr token", "tap"])
    assert "extensions.conf" in found["tap"]["mend"]
    assert found["clean"]["verdict"] == "ok"
    for via in ("ari", "ami"):
        code, found = checked(pbx, emulator.port, tmp_path, asterisk={"via": via}, password="wrong-password")
        assert (code, faults(found)) == (1, ["asterisk"])
        assert ("ARI_PASSWORD" if via == "ari" else "AMI_SECRET") in found["asterisk"]["mend"]
        code, found = checked(pbx, emulator.port, tmp_path, asterisk={"via": via, "username": READER})
        assert (code, faults(found)) == (1, ["asterisk"])
        assert READER in found["asterisk"]["text"]
    code, found = checked(pbx, emulator.port, tmp_path, asterisk={"via": "ami", "ami_port": 9})
    assert (code, faults(found)) == (1, ["asterisk"])


def test_ports_that_are_taken_are_counted(pbx: Asterisk, emulator: EmulatorProcess, tmp_path: Path) -> None:
    with socket.socket(type=socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 52_020))
        media = {"first_port": 52_020, "last_port": 52_020}
        code, found = checked(pbx, emulator.port, tmp_path, asterisk={}, media=media)
        assert (code, faults(found)) == (1, ["media ports", "tap"])
        media["last_port"] = 52_021
        code, found = checked(pbx, emulator.port, tmp_path, asterisk={}, media=media)
        assert (code, found["media ports"]["verdict"]) == (0, "warn"), found


def test_what_rtp_conf_has_is_named_where_the_yaml_says_something_else(
    pbx: Asterisk, emulator: EmulatorProcess, tmp_path: Path
) -> None:
    right = f"write asterisk.rtp_range: [{pbx.places.rtp_first}, {pbx.places.rtp_last}]"
    for via, given in [("ari", None), ("ari", [10_000, 20_000]), ("ami", [10_000, 20_000])]:
        code, found = checked(pbx, emulator.port, tmp_path, asterisk={"via": via, "rtp_range": given})
        assert (code, faults(found)) == (1, ["rtp range"])
        assert found["rtp range"]["mend"] == right
    # Over AMI the daemon reads it by itself.
    code, found = checked(pbx, emulator.port, tmp_path, asterisk={"via": "ami", "rtp_range": None})
    assert (code, found["rtp range"]["verdict"]) == (0, "ok")


def test_settings_that_cannot_be_read_are_told_with_the_way_by_hand(
    pbx: Asterisk, emulator: EmulatorProcess, tmp_path: Path
) -> None:
    pbx.cli("module unload func_config.so")
    try:
        code, found = checked(pbx, emulator.port, tmp_path, asterisk={"rtp_range": None})
        assert (code, [name for name, one in found.items() if one["verdict"] == "warn"]) == (
            0,
            ["rtp range", "http sessions"],
        )
        assert "rtp show settings" in found["rtp range"]["mend"]
        assert "sessionlimit" in found["http sessions"]["mend"]
        code, found = checked(pbx, emulator.port, tmp_path, asterisk={"via": "ami"})
        assert (code, found["rtp range"]["verdict"]) == (0, "ok"), found
        assert "not readable" in found["rtp range"]["text"]
    finally:
        pbx.cli("module load func_config.so")


def test_few_http_sessions_are_told(pbx: Asterisk, emulator: EmulatorProcess, tmp_path: Path) -> None:
    file = pbx.root / pbx.places.sub("etc").relative_to("/") / "http.conf"
    text = file.read_text()
    try:
        file.write_text(text.replace("sessionlimit = 200", "sessionlimit = 20"))
        code, found = checked(pbx, emulator.port, tmp_path, asterisk={})
        assert (code, found["http sessions"]["verdict"]) == (0, "warn"), found
        file.write_text(text.replace("sessionlimit = 200", ""))
        code, found = checked(pbx, emulator.port, tmp_path, asterisk={})
        assert (code, found["http sessions"]["text"]) == (0, "sessionlimit is 100"), found
    finally:
        file.write_text(text)


@pytest.mark.parametrize("via", ["ari", "ami"])
@pytest.mark.parametrize(("ahead_s", "told"), [(7200.0, "ahead"), (-10.0, "behind")])
def test_a_clock_that_is_wrong_is_told(
    pbx: Asterisk,
    emulator: EmulatorProcess,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    via: str,
    ahead_s: float,
    told: str,
) -> None:
    monkeypatch.setattr(asterisk_checks, "unix_s", lambda: time.time() + ahead_s)
    code, found = checked(pbx, emulator.port, tmp_path, asterisk={"via": via})
    assert (code, found["pbx clock"]["verdict"]) == (0, "warn"), found
    seconds = re.search(rf"is (\d+) s {told}: ", found["pbx clock"]["text"])
    assert seconds is not None
    assert float(seconds[1]) == pytest.approx(abs(ahead_s), abs=2)


def test_rights_that_lack_and_rights_beyond_need_are_named(
    pbx: Asterisk, emulator: EmulatorProcess, tmp_path: Path
) -> None:
    almighty = {"via": "ami", "username": ALMIGHTY}
    code, found = checked(pbx, emulator.port, tmp_path, asterisk=almighty)
    assert (code, found["rights"]["verdict"]) == (0, "warn")
    assert "command, config, system" in found["rights"]["text"]
    silent = {"via": "ami", "username": SILENT}
    code, found = checked(pbx, emulator.port, tmp_path, asterisk=silent)
    assert (code, found["rights"]["verdict"]) == (0, "ok"), found
    sinks = {"pbx": {"user_event": "RTZRText"}}
    code, found = checked(pbx, emulator.port, tmp_path, asterisk=silent, sinks=sinks)
    assert (code, faults(found)) == (1, ["rights"])


def test_a_module_that_is_missing_is_named(pbx: Asterisk, emulator: EmulatorProcess, tmp_path: Path) -> None:
    pbx.cli("module unload func_cdr.so")
    try:
        code, found = checked(pbx, emulator.port, tmp_path, asterisk={})
        assert (code, faults(found)) == (1, ["modules"])
        assert "func_cdr.so" in found["modules"]["text"]
    finally:
        pbx.cli("module load func_cdr.so")


def test_a_daemon_that_runs_is_not_disturbed(
    pbx: Asterisk, emulator: EmulatorProcess, tmp_path: Path
) -> None:
    prompts(pbx)
    with BridgeProcess(pbx, emulator, tmp_path, rules=[{"name": "all"}]) as bridge:
        call = pbx.two_party_call([(1.0, "s0"), (3.0, HANGUP)], [(3.0, "s1")])
        bridge.wait(lambda: len(bridge.events("leg.started", call.id)) == 2, 10)
        code, _ = checked(pbx, emulator.port, tmp_path, asterisk={})
        ended = bridge.wait_for_end(call.id, 20)
        assert (code, ended["verdict"]) == (0, "complete")
        assert {event["subject"] for event in bridge.events("call.started")} == {call.id}
        assert '"ari application taken' not in bridge.printed()
