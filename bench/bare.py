"""The lines that anybody would write first: uvloop, a datagram protocol and a `websockets` client a leg.

`python -m bench.bare '{"legs": 200, "sink": 1234, "message_ms": 100}'` is the process. No order, no loss, no
gate, no replay, no token: what it costs is what these two libraries cost, and what the daemon is measured by.
"""

import asyncio
import json
import sys
from typing import Any

from websockets.asyncio.client import ClientConnection, connect

from bench.aside import serve
from bench.loops import run
from bench.wires import HEADER, HOST, PACKET, STREAM

_WAITING = 100


class _Leg(asyncio.DatagramProtocol):
    """A UDP port; what comes there goes out in messages."""

    def __init__(self, message: int) -> None:
        self._message = message
        self._waiting = bytearray()
        self._messages: asyncio.Queue[bytes] = asyncio.Queue(_WAITING)

    def datagram_received(self, data: bytes, addr: Any) -> None:  # noqa: ARG002 - asyncio's method
        self._waiting += data[HEADER:]
        if len(self._waiting) >= self._message and not self._messages.full():
            self._messages.put_nowait(bytes(self._waiting))
            self._waiting.clear()

    async def speak(self, stream: ClientConnection) -> None:
        while True:
            await stream.send(await self._messages.get())


async def _listen(stream: ClientConnection) -> None:
    async for _ in stream:
        pass


async def _process(settings: dict[str, Any]) -> None:
    loop, url = asyncio.get_running_loop(), f"ws://{HOST}:{settings['sink']}{STREAM}"
    message, ports, tasks = settings["message_ms"] // 20 * PACKET, [], []
    for _ in range(settings["legs"]):
        stream = await connect(url, compression=None, proxy=None)
        port, leg = await loop.create_datagram_endpoint(lambda: _Leg(message), (HOST, 0))
        ports.append(port.get_extra_info("sockname")[1])
        tasks += [asyncio.create_task(leg.speak(stream)), asyncio.create_task(_listen(stream))]
    await serve({"ports": ports}, {})
    for task in tasks:
        task.cancel()


if __name__ == "__main__":
    run(_process(json.loads(sys.argv[1])))
