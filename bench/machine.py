"""What the kernel says of processes and sockets: CPU, memory, descriptors, datagrams that were dropped."""

import os
import platform
from collections.abc import Iterable
from pathlib import Path

_PROC = Path("/proc")


def cpu_ms(pids: Iterable[int]) -> float:
    """CPU time of these processes' threads so far, in milliseconds."""
    total_ns = 0
    for pid in pids:
        for task in (_PROC / str(pid) / "task").iterdir():
            total_ns += int((task / "schedstat").read_text().split()[0])
    return total_ns / 1e6


def system_ticks(pids: Iterable[int]) -> tuple[int, int]:
    """Of these processes' CPU so far, what the kernel used, and all: by its ticks, good only in sums."""
    system = whole = 0
    for pid in pids:
        fields = (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
        user, kernel = map(int, fields[11:13])
        system, whole = system + kernel, whole + user + kernel
    return system, whole


def family(pid: int) -> list[int]:
    """A process and the processes it started."""
    found = [pid]
    for task in (_PROC / str(pid) / "task").iterdir():
        for child in (task / "children").read_text().split():
            found += family(int(child))
    return found


def rss_kb(pids: Iterable[int]) -> int:
    """Resident memory, in KiB."""
    pages = sum(int((_PROC / str(pid) / "statm").read_text().split()[1]) for pid in pids)
    return pages * os.sysconf("SC_PAGE_SIZE") // 1024


def descriptors(pids: Iterable[int]) -> int:
    return sum(len(list((_PROC / str(pid) / "fd").iterdir())) for pid in pids)


def datagrams_dropped() -> int:
    """Datagrams that the kernel threw away, for want of room or otherwise, since this machine's start."""
    lines = [
        line.split() for line in (_PROC / "net/snmp").read_text().splitlines() if line.startswith("Udp:")
    ]
    fields = dict(zip(lines[0][1:], map(int, lines[1][1:]), strict=True))
    return fields["InErrors"]  # those of RcvbufErrors are among them


def described() -> dict[str, str | int]:
    """This machine, for who reads the figures."""
    models = [line.partition(":")[2].strip() for line in (_PROC / "cpuinfo").read_text().splitlines()
              if line.startswith("model name")]  # fmt: skip
    return {
        "cpu": models[0] if models else platform.machine(),
        "cores": os.cpu_count() or 1,
        "kernel": platform.release(),
        "python": platform.python_version(),
    }
