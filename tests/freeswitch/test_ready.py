"""A daemon beside an emulated FreeSWITCH says whether it is ready, and keeps calls out of the outbox where a
rule says so."""

import signal
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest

from bridge.emulator.freeswitch.knobs import SwitchKnobs
from tests.asterisk.daemon import EmulatorProcess
from tests.asterisk.pbx import wait_for
from tests.freeswitch.daemon import FreeSwitchBridge
from tests.freeswitch.site import SwitchThread


@pytest.fixture(scope="module")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmulatorProcess]:
    with EmulatorProcess(tmp_path_factory.mktemp("emulator"), "--recognition-ms", "100") as running:
        yield running


class Admin:
    """The control channel of a daemon."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def get(self, what: str) -> httpx.Response:
        with httpx.Client(transport=httpx.HTTPTransport(uds=str(self.path)), base_url="http://x") as http:
            return http.get(what)

    def reasons(self) -> list[str]:
        answer = self.get("/ready")
        found: list[str] = answer.json()["reasons"]
        assert answer.status_code == (503 if found else 200)
        return found


def test_it_is_ready_until_the_line_is_lost_or_it_is_told_to_stop(
    emulator: EmulatorProcess, tmp_path: Path
) -> None:
    admin = Admin(tmp_path / "admin.sock")
    with SwitchThread(SwitchKnobs()) as pbx:
        settings: dict[str, Any] = {"admin": {"socket": str(admin.path)}, "drain_s": 20}
        with FreeSwitchBridge(pbx.port, emulator, tmp_path, **settings) as bridge:
            wait_for(lambda: not admin.reasons(), 5, bridge.printed)
            assert admin.get("/health").text == "ok\n"
            call = pbx.call()
            pbx.say((call.caller, 0))
            wait_for(lambda: "rtzr_bridge_legs 2.0\n" in admin.get("/metrics").text, 5, bridge.printed)
            pbx.do(pbx.cut())
            wait_for(lambda: any("not connected" in why for why in admin.reasons()), 5, bridge.printed)
            wait_for(lambda: not admin.reasons(), 20, bridge.printed)
            bridge.signal(signal.SIGTERM)
            began = time.monotonic()
            wait_for(lambda: admin.reasons() == ["the bridge is stopping"], 1, bridge.printed)
            assert time.monotonic() - began < 0.5
            assert admin.get("/health").status_code == 200
            pbx.do(call.hang_up())
            assert bridge.ended(20) == 0


def test_a_rule_keeps_its_calls_out_of_the_outbox(emulator: EmulatorProcess, tmp_path: Path) -> None:
    path = tmp_path / "outbox.db"
    rules = [{"name": "boss", "match": {"caller": "1001"}, "sinks": ["jsonl"]}, {"name": "all"}]
    away = {"redis": {"url": "redis://127.0.0.1:9"}}  # what everybody has would be erased
    given: dict[str, Any] = {"rules": rules, "outbox": {"path": str(path)}, "sinks": away, "drain_s": 0}
    with SwitchThread() as pbx, FreeSwitchBridge(pbx.port, emulator, tmp_path, **given) as bridge:
        boss, other = pbx.call("1001"), pbx.call("1002")
        pbx.say((boss.caller, 0), (other.caller, 1))
        for call in (boss, other):
            pbx.do(call.hang_up())
        wait_for(lambda: len(bridge.events("call.ended")) == 2, 10, bridge.printed)
        assert bridge.terminate() == 0
        chosen = {event["subject"]: event["data"]["rule"] for event in bridge.events("call.started")}
        told = {chosen[event["subject"]] for event in bridge.events("transcript.final")}
    with closing(sqlite3.connect(path)) as file:
        kept = {chosen[call] for (call,) in file.execute("SELECT DISTINCT call FROM events")}
        known = dict(file.execute("SELECT call, rule FROM calls"))
    assert (told, kept) == ({"boss", "all"}, {"all"})
    assert known == chosen
