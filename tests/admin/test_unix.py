"""bridge/admin/unix.py: this user's alone, one process at a time, whatever a killed one left."""

import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from bridge.admin.unix import Taken, unix_listener

HOLD = """
import sys
from pathlib import Path
from bridge.admin.unix import unix_listener
with unix_listener(Path(sys.argv[1])):
    print("here", flush=True)
    sys.stdin.read()
"""


def dial(path: Path) -> socket.socket:
    client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    client.connect(str(path))
    return client


def test_it_listens_for_this_user_alone_and_is_gone_afterwards(tmp_path: Path) -> None:
    path = tmp_path / "admin.sock"
    with unix_listener(path):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        dial(path).close()
    assert not path.exists()
    with unix_listener(path):
        dial(path).close()


def test_a_second_one_is_told_and_the_first_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "admin.sock"
    with unix_listener(path):
        with pytest.raises(Taken), unix_listener(path):
            pass
        dial(path).close()


def test_what_a_killed_process_left_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "admin.sock"
    command = [sys.executable, "-c", HOLD, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"here\n"
        with pytest.raises(Taken), unix_listener(path):
            pass
        process.kill()
    assert path.exists()
    with unix_listener(path):
        dial(path).close()


def test_a_file_that_is_no_socket_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "admin.sock"
    path.write_text("mine")
    with pytest.raises(FileExistsError), unix_listener(path):
        pass
    assert path.read_text() == "mine"


def test_a_link_that_somebody_laid_for_the_lock_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "admin.sock.lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="symbolic"), unix_listener(tmp_path / "admin.sock"):
        pass
    assert not (tmp_path / "elsewhere").exists()


def test_no_descriptor_is_left(tmp_path: Path) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    with pytest.raises(OSError, match="directory"), unix_listener(tmp_path / "no" / "admin.sock"):
        pass
    with unix_listener(tmp_path / "admin.sock"), pytest.raises(Taken), unix_listener(tmp_path / "admin.sock"):
        pass
    assert len(list(Path("/proc/self/fd").iterdir())) == before
