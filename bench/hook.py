"""A receiver of webhooks in a process of its own, so that only its sender's CPU is measured.

`python -m bench.hook` prints its port, takes every POST, and answers a GET with how many events came and how
long each was on its way; then it counts anew. `Hook` is the other end.
"""

import asyncio
import json
import re
import sys
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from time import monotonic
from types import TracebackType
from typing import Self

MADE = "made_s"
"""The key in an event's data of when it was made, in seconds of the machine's monotonic clock."""
_MADE = re.compile(rb'"%s":([0-9.]+)' % MADE.encode())
_HOST = "127.0.0.1"
_LIMIT = 1 << 24


@dataclass(frozen=True, slots=True)
class Got:
    """What came since the last question."""

    events: int
    last_s: float
    """When the last of them came, by the monotonic clock."""
    took_ms: Sequence[float]


class Hook:
    """`async with Hook() as hook: ... hook.url`."""

    async def __aenter__(self) -> Self:
        self._process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "bench.hook", stdout=asyncio.subprocess.PIPE, stdin=asyncio.subprocess.PIPE
        )
        assert self._process.stdout is not None
        self._port = int(await self._process.stdout.readline())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.terminate()
        await self._process.communicate()

    @property
    def url(self) -> str:
        return f"http://{_HOST}:{self._port}/"

    async def got(self) -> Got:
        """What came. It counts anew."""
        reader, writer = await asyncio.open_connection(_HOST, self._port, limit=_LIMIT)
        writer.write(b"GET / HTTP/1.1\r\nContent-Length: 0\r\n\r\n")
        head = await reader.readuntil(b"\r\n\r\n")
        told = json.loads(await reader.readexactly(_length(head)))
        writer.close()
        return Got(*told)


def _length(head: bytes) -> int:
    found = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
    return int(found[1]) if found else 0


class _Receiver:
    def __init__(self) -> None:
        self._took_ms = array("d")
        self._last_s = 0.0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                body = await reader.readexactly(_length(head))
                if head.startswith(b"GET"):
                    told = self._told()
                    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(told) + told)
                else:
                    self._take(body)
                    writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    def _take(self, body: bytes) -> None:
        self._last_s = monotonic()
        self._took_ms.extend((self._last_s - float(made)) * 1000 for made in _MADE.findall(body))

    def _told(self) -> bytes:
        told = [len(self._took_ms), self._last_s, [round(ms, 2) for ms in self._took_ms]]
        self._took_ms = array("d")
        return json.dumps(told).encode()


async def _main() -> None:
    server = await asyncio.start_server(_Receiver().serve, _HOST, 0, limit=_LIMIT)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_main())
