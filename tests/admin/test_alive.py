"""bridge/admin/alive.py: a daemon that answers is told from one that does not, with why."""

import asyncio
import socket
import subprocess
import sys
import threading
from pathlib import Path

from bridge.admin.alive import why_not
from bridge.admin.control import Control
from bridge.admin.unix import unix_listener
from bridge.serving import Serving, guarded


async def run(path: Path) -> tuple[int, str]:
    command = [sys.executable, "-m", "bridge.admin.alive", str(path)]
    running = await asyncio.create_subprocess_exec(*command, stderr=asyncio.subprocess.PIPE)
    _, told = await running.communicate()
    return running.returncode or 0, told.decode()


async def test_a_daemon_that_answers_is_alive(tmp_path: Path) -> None:
    path = tmp_path / "admin.sock"
    with unix_listener(path) as listener:
        async with Serving(guarded(Control(None).app()), listener):
            assert await run(path) == (0, "")


async def test_no_daemon_is_told_in_a_line(tmp_path: Path) -> None:
    code, told = await run(tmp_path / "admin.sock")
    assert code == 1
    assert told.startswith(str(tmp_path / "admin.sock"))
    assert told.count("\n") == 1


def test_what_answers_no_http_is_no_daemon(tmp_path: Path) -> None:
    path = tmp_path / "admin.sock"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(path))
        listener.listen()

        def answer() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(1000)
                connection.sendall(b"SSH-2.0\r\n\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        assert why_not(path)
        thread.join()


def test_it_imports_nothing_heavy() -> None:
    code = "import sys, bridge.admin.alive; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"asyncio", "httpx", "pydantic", "rich"} & set(done.stdout.split())
