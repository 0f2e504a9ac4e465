"""`explain --from-log` on what a real Asterisk told while the daemon ran: it says what the daemon did."""

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from bridge.cli import app
from tests.asterisk.daemon import BridgeProcess, EmulatorProcess
from tests.asterisk.pbx import HANGUP, Asterisk, wait_for
from tests.asterisk.test_calls import prompts

RULES: list[dict[str, Any]] = [
    {"name": "never", "match": {"caller": "_0199."}, "tap": False},
    {"name": "acme", "match": {"variables": {"TENANT": "ac*"}}},
    {"name": "line", "match": {"did": "_X.", "direction": "in"}},
    {"name": "sales", "match": {"queue": "sales"}},
]


@contextmanager
def ami_log(pbx: Asterisk, file: Path) -> Iterator[None]:
    """As `nc` writes it."""
    with socket.create_connection(("127.0.0.1", pbx.ami_port)) as line, file.open("wb") as log:

        def listen() -> None:
            while data := line.recv(65536):
                log.write(data)

        listener = threading.Thread(target=listen)
        listener.start()
        login = f"Action: Login\r\nUsername: {pbx.username}\r\nSecret: {pbx.password}\r\n\r\n"
        line.sendall(login.encode())
        yield
        line.shutdown(socket.SHUT_RDWR)
        listener.join()


@contextmanager
def ari_log(pbx: Asterisk, file: Path) -> Iterator[None]:
    """An object a line, as any client of ARI's events prints them."""
    query = f"app=log&api_key={pbx.username}:{pbx.password}"
    with (
        connect(f"{pbx.ari_url.replace('http', 'ws', 1)}/events?{query}", proxy=None) as events,
        file.open("w", encoding="utf-8") as log,
    ):

        def listen() -> None:
            try:
                log.writelines(f"{json.dumps(json.loads(text))}\n" for text in events)
            except ConnectionClosed:
                return

        listener = threading.Thread(target=listen)
        listener.start()
        pbx.ari("POST", "applications/log/subscription", eventSource="channel:,bridge:")
        yield
        events.close()
        listener.join()


@pytest.mark.parametrize("via", ["ari", "ami"])
def test_a_log_is_explained_as_the_daemon_decided(pbx: Asterisk, tmp_path: Path, via: str) -> None:
    prompts(pbx)
    asterisk = {"via": via, "trunk_contexts": ["outside"]}
    logs = {"ari": tmp_path / "ari.log", "ami": tmp_path / "ami.log"}
    with (
        EmulatorProcess(tmp_path) as emulator,
        BridgeProcess(pbx, emulator, tmp_path, rules=RULES, asterisk=asterisk) as bridge,
        ami_log(pbx, logs["ami"]),
        ari_log(pbx, logs["ari"]),
    ):
        short = [(2.0, HANGUP)]
        calls = {
            pbx.two_party_call(short, [], context=context, ring_s=0.3, caller_number=number).id: rule
            for context, number, rule in [
                ("outside", "0212345678", "line"),
                ("unannounced", "019912345", "never"),
                ("tenant", "0212345678", "acme"),
                ("to-queue", "0212345678", "sales"),
                ("unannounced", "0212345678", None),
                ("from-phones", "0212345678", None),
            ]
        }
        announced = list(calls)[-1]
        tapped = {call for call, rule in calls.items() if rule not in (None, "never")} | {announced}
        bridge.wait(lambda: {event["subject"] for event in bridge.events("call.ended")} >= tapped, 30)
        wait_for(lambda: not pbx.channels(), 10, lambda: pbx.cli("core show channels"))
        started = {one["subject"]: one["data"].get("rule") for one in bridge.events("call.started")}
        assert started == {call: calls[call] for call in tapped}
    environ = {"RTZR_CLIENT_ID": "demo", "RTZR_CLIENT_SECRET": "demo-secret"}
    for log in logs.values():
        arguments = ["explain", "-c", str(tmp_path / "bridge.yaml"), "--from-log", str(log), "--json"]
        result = CliRunner().invoke(app, arguments, env=environ)
        assert result.exit_code == 0, result.output
        document = json.loads(result.output)
        assert document["unread"] == []
        found = {one["call"]: one for one in document["calls"]}
        assert {call: one["rule"] for call, one in found.items()} == calls
        assert {call for call, one in found.items() if one["tapped"]} == tapped
        assert [call for call, one in found.items() if one["announced"]] == [announced]
