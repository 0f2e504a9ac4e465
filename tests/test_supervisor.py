"""bridge/supervisor.py: what systemd would hear, at a socket of the test's own."""

import asyncio
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from bridge.readiness import Readiness
from bridge.supervisor import Supervisor


@contextmanager
def listening(address: str) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(address)
        listener.setblocking(False)
        yield listener


async def heard(listener: socket.socket) -> str:
    async with asyncio.timeout(5):
        return (await asyncio.get_running_loop().sock_recv(listener, 4096)).decode()


async def test_it_hears_that_the_daemon_serves_and_stops(tmp_path: Path) -> None:
    path = str(tmp_path / "notify")
    with listening(path) as listener:
        readiness = Readiness(Supervisor({"NOTIFY_SOCKET": path}))
        readiness.stop()
        assert await heard(listener) == "STOPPING=1"


async def test_a_socket_of_the_abstract_namespace_is_found() -> None:
    name = f"rtzr-bridge-test-{os.getpid()}"
    with listening(f"\0{name}") as listener:
        Supervisor({"NOTIFY_SOCKET": f"@{name}"}).begun()
        assert await heard(listener) == "READY=1"


async def test_the_watchdog_hears_of_the_loop_and_the_status_when_it_changes(tmp_path: Path) -> None:
    path = str(tmp_path / "notify")
    reasons = ["the PBX is not\nconnected"]
    environ = {"NOTIFY_SOCKET": path, "WATCHDOG_USEC": "30000", "WATCHDOG_PID": str(os.getpid())}
    with listening(path) as listener:
        async with Supervisor(environ).beating(lambda: reasons):
            assert await heard(listener) == "WATCHDOG=1\nSTATUS=the PBX is not connected"
            assert await heard(listener) == "WATCHDOG=1"
            reasons.clear()
            while (told := await heard(listener)) == "WATCHDOG=1":
                pass
            assert told == "WATCHDOG=1\nSTATUS=ready"
        while listener.fileno() >= 0:
            try:
                listener.recv(4096)
            except BlockingIOError:
                break
        await asyncio.sleep(0.05)
        with pytest.raises(BlockingIOError):
            listener.recv(4096)


@pytest.mark.parametrize(
    "environ",
    [{"WATCHDOG_USEC": "30000", "WATCHDOG_PID": "1"}, {"WATCHDOG_USEC": "soon"}, {}],
    ids=["another's", "no number", "none"],
)
async def test_without_a_watchdog_of_its_own_it_hears_the_status_alone(
    tmp_path: Path, environ: dict[str, str]
) -> None:
    path = str(tmp_path / "notify")
    with listening(path) as listener:
        async with Supervisor({"NOTIFY_SOCKET": path, **environ}).beating(list):
            assert await heard(listener) == "STATUS=ready"


async def test_nobody_who_listens_is_no_harm(tmp_path: Path) -> None:
    for environ in ({}, {"NOTIFY_SOCKET": str(tmp_path / "gone")}):
        supervisor = Supervisor(environ)
        async with supervisor.beating(list):
            supervisor.begun()
            supervisor.stopping()


async def test_one_that_takes_nothing_any_more_is_not_waited_for(tmp_path: Path) -> None:
    path = str(tmp_path / "notify")
    with listening(path):
        supervisor = Supervisor({"NOTIFY_SOCKET": path})
        for _ in range(2000):
            supervisor.begun()
