"""bridge/daemon.py: what it cannot have on this machine is one clear fault, before any call."""

import asyncio
import socket
import threading
from pathlib import Path
from typing import Any, cast

import pytest
from structlog.testing import capture_logs

from bridge import daemon
from bridge.calls.switchboard import Switchboard
from bridge.config import Config, ConfigError
from bridge.credentials import Secrets
from bridge.opening import Outlets
from bridge.outbox.outbox import Outbox, OutboxSettings
from bridge.sinks.outbox import OutboxSink
from tests.checks.test_freeswitch import behind_a_free_one
from tests.outboxes import event, opened


def config(**given: Any) -> Config:
    quiet = {"sinks": {"console": {"enabled": False}}}
    secrets = Secrets(client_id="id", client_secret="x", ari_password="x", esl_password="x")
    return Config.model_validate({**quiet, **given}).with_secrets(secrets)


async def refused(**given: Any) -> list[str]:
    with pytest.raises(ConfigError) as error:
        await daemon.run(config(**given))
    return error.value.lines


async def test_a_port_that_another_program_has_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        (line,) = await refused(pbx="freeswitch", media={"websocket_port": port})
    assert line == "media.websocket_port: is not to be had (Address already in use); give another one"


async def test_a_port_of_a_worker_that_another_program_has_is_named_at_the_start() -> None:
    with behind_a_free_one() as taken:
        port = taken.getsockname()[1]
        (line,) = await refused(pbx="freeswitch", media={"websocket_port": port - 1}, workers=2)
    assert line.startswith(f"media.websocket_port: {port}")


async def test_files_that_are_no_certificate_are_named(tmp_path: Path) -> None:
    file = tmp_path / "cert.pem"
    for text, reason in ((None, "No such file or directory"), ("no certificate", "is no PEM certificate")):
        if text is not None:
            file.write_text(text)
        tls = {"media_tls_cert": str(file), "media_tls_key": str(file)}
        (line,) = await refused(pbx="freeswitch", freeswitch=tls, media={"websocket_port": 1024})
        assert line.startswith("freeswitch.media_tls_cert")
        assert reason in line


async def test_a_folder_that_is_not_to_be_had_is_named(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")
    (line,) = await refused(spool={"folder": str(file / "spool")})
    assert line.startswith("spool.folder: ")


async def test_a_feeds_port_and_a_commands_socket_that_are_not_to_be_had_are_named(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        (line,) = await refused(sinks={"console": {"enabled": False}, "feed": {"port": port}})
    assert line.startswith(f"sinks.feed.port: 127.0.0.1:{port} is not to be had (Address already in use")
    path = str(tmp_path / "none" / "admin.sock")
    (line,) = await refused(admin={"socket": path}, outbox={"path": str(tmp_path / "o.db")})
    assert line.startswith(f"admin.socket: {path} is not to be had (No such file or directory)")
    assert "outbox" not in [thread.name for thread in threading.enumerate()], "it is closed again"


async def test_an_outbox_that_is_not_to_be_had_is_named_and_what_is_there_untouched(tmp_path: Path) -> None:
    file = tmp_path / "events.jsonl"
    file.write_text("{}\n")
    for path, reason in (
        (tmp_path, "Is a directory"),
        (file, "what is there is no outbox of ours"),
        (file / "o.db", "File exists"),
        (Path("/proc/none/o.db"), "No such file or directory"),
    ):
        (line,) = await refused(outbox={"path": str(path)})
        assert line.startswith(f"outbox.path: {path} is not to be had ({reason}); give a file of its own")
    assert [(one.name, one.read_text()) for one in (file,)] == [("events.jsonl", "{}\n")]
    assert "outbox" not in [thread.name for thread in threading.enumerate()], "it is closed again"


async def test_an_outbox_that_another_daemon_has_is_named(tmp_path: Path) -> None:
    path = tmp_path / "o.db"
    async with opened(path):
        (line,) = await refused(outbox={"path": str(path)})
    assert line.startswith(f"outbox.path: {path} is not to be had (another process has it); ")


async def test_events_that_the_outbox_could_not_have_make_no_orderly_end(tmp_path: Path) -> None:
    for outbox, orderly in ((Outbox(tmp_path / "shut.db", OutboxSettings()), False), (None, True)):
        kept = None if outbox is None else OutboxSink(outbox)
        writing = []
        if kept is not None:
            kept.deliver(event(1))
            writing.append(asyncio.create_task(kept.run()))
        outlets = Outlets([kept] if kept else [], kept, None)
        assert await daemon._last_events(outlets, writing, asyncio.Event()) is orderly


async def test_legs_that_wait_for_rtzr_do_not_outlast_a_supervisors_patience(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Endless:
        legs = 3

        async def drain(self, patience_s: float) -> None:
            await asyncio.Event().wait()

    monkeypatch.setattr(daemon, "_WORK_OFF_S", 0.01)
    with capture_logs() as logs:
        async with asyncio.timeout(5):
            assert not await daemon._drain(cast("Switchboard", Endless()), 0.01, asyncio.Event())
    assert logs[-1]["event"] == "legs ended before RTZR had all of them"
