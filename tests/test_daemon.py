"""bridge/daemon.py: what it cannot have on this machine is one clear fault, before any call."""

import socket
import threading
from pathlib import Path
from typing import Any

import pytest

from bridge import daemon
from bridge.config import Config, ConfigError
from bridge.credentials import Secrets


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
