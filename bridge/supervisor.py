"""What systemd is told of the daemon (Type=notify): that it serves or stops, how it stands, that its loop
goes round. Elsewhere nobody listens, and nothing is said.

It serves once every port and file is open; a PBX or an RTZR that is away then is in its status, and no reason
to be started anew. sd_notify(3) has the protocol: a datagram of KEY=value lines to $NOTIFY_SOCKET.
"""

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress

_BEAT_S = 5.0
"""How often the status is looked at where there is no watchdog."""
_LONGEST = 500


class Supervisor:
    """One that listens at $NOTIFY_SOCKET, or none."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        address = environ.get("NOTIFY_SOCKET", "")
        # A name that begins with @ is of the abstract namespace, as unix(7) writes it with a zero byte.
        self._address = f"\0{address[1:]}" if address.startswith("@") else address
        self._watchdog_s = _watchdog_s(environ)
        self._status = ""

    def begun(self) -> None:
        """Everything is open."""
        self._tell("READY=1")

    def stopping(self) -> None:
        """No new calls; those that live may take their time."""
        self._tell("STOPPING=1")

    @asynccontextmanager
    async def beating(self, reasons: Callable[[], list[str]]) -> AsyncIterator[None]:
        """Meanwhile it is told that the loop goes round, and why the daemon is not ready (`reasons`)."""
        beats = asyncio.create_task(self._beat(reasons)) if self._address else None
        try:
            yield
        finally:
            if beats is not None:
                beats.cancel()
                await asyncio.wait([beats])

    async def _beat(self, reasons: Callable[[], list[str]]) -> None:
        while True:
            lines = ["WATCHDOG=1"] if self._watchdog_s else []
            status = "; ".join(" ".join(why.split()) for why in reasons()) or "ready"
            if status != self._status:
                self._status = status
                lines.append(f"STATUS={status[:_LONGEST]}")
            if lines:
                self._tell(*lines)
            # Twice as often as has to be, and once more.
            await asyncio.sleep(min(self._watchdog_s / 3, _BEAT_S) if self._watchdog_s else _BEAT_S)

    def _tell(self, *lines: str) -> None:
        """A supervisor that does not listen, or has its hands full, is not waited for."""
        if not self._address:
            return
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as one:
            one.setblocking(False)
            one.sendto("\n".join(lines).encode(), self._address)


def _watchdog_s(environ: Mapping[str, str]) -> float:
    """Seconds within which it wants to hear of this process, 0 for never."""
    if environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return 0.0
    try:
        return max(0.0, int(environ.get("WATCHDOG_USEC", "0")) / 1_000_000)
    except ValueError:
        return 0.0
