"""Which sockets a process holds, read from the kernel's tables: nothing that is left open can hide there.

Blocking, Linux only. Whose they ought to be is the tests' business.
"""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

_INODE, _LOCAL, _REMOTE = 9, 1, 2


def udp_ports(pid: int) -> list[int]:
    """The local UDP ports of a process."""
    return sorted(local for local, _ in _held(pid, "udp"))


def tcp_peers(pid: int) -> list[int]:
    """The far ports of a process's TCP connections; 0 is one that listens."""
    return sorted(remote for _, remote in _held(pid, "tcp"))


def _held(pid: int, table: str) -> Iterator[tuple[int, int]]:
    """Local and remote port of each."""
    inodes = set(_inodes(pid))
    for name in (table, f"{table}6"):
        for line in Path(f"/proc/{pid}/net/{name}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[_INODE] in inodes:
                yield _port(fields[_LOCAL]), _port(fields[_REMOTE])


def _inodes(pid: int) -> Iterator[str]:
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):  # closed since
            target = str(descriptor.readlink())
            if target.startswith("socket:["):
                yield target[len("socket:[") : -1]


def _port(address: str) -> int:
    return int(address.rpartition(":")[2], 16)
