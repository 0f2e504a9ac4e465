"""What lies at the other end of what the parts are measured on: a PBX's sockets, and RTZR's.

Whatever is done here is done between the rounds and not counted. Nothing is measured here.
"""

import asyncio
import socket
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack, ExitStack, contextmanager, suppress
from itertools import count
from typing import cast

from websockets.asyncio.client import ClientConnection, connect
from websockets.http11 import Request
from websockets.server import ServerProtocol

from bridge.net.rtzr import Session
from bridge.wire import rtp

HOST = "127.0.0.1"
HEADER, PACKET = 12, 160
"""Bytes of an RTP header, and of 20 ms of mu-law behind it."""
STREAM = "/v1/transcribe:streaming?sample_rate=8000&encoding=MULAW"


class Line:
    """The PBX's end of each leg's socket: one packet to each at a time, in order."""

    def __init__(self, sockets: Sequence[socket.socket], payload: bytes) -> None:
        self._sockets = sockets
        self._numbers = count()
        self._payload = payload

    def send(self) -> None:
        """The next packet, to each."""
        number = next(self._numbers)
        packet = rtp.build(rtp.Packet(0, number % (1 << 16), number * 160, 7, self._payload))
        for one in self._sockets:
            one.send(packet)


@contextmanager
def senders(number: int) -> Iterator[list[socket.socket]]:
    """So many UDP sockets, each with a port of its own."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket(type=socket.SOCK_DGRAM)) for _ in range(number)]
        for one in sockets:
            one.bind((HOST, 0))
        yield sockets


class Wires:
    """A WebSocket for each leg, and its other end, which nobody reads but between the rounds."""

    def __init__(self) -> None:
        self.ours: list[ClientConnection] = []
        self.sessions: list[Session] = []
        self.sockets: list[socket.socket] = []
        """Beneath `ours`."""
        self.theirs: list[socket.socket] = []

    async def lay(self, number: int, stack: AsyncExitStack) -> None:
        """So many of them; `stack` takes them away again."""
        server = stack.enter_context(socket.create_server((HOST, 0)))
        for _ in range(number):
            client = socket.create_connection(server.getsockname())
            peer = stack.enter_context(server.accept()[0])
            peer.setblocking(False)
            dialling = connect(f"ws://{HOST}/", sock=client, compression=None, ping_interval=None)
            connection, _ = await asyncio.gather(dialling, _welcome(peer))
            stack.callback(connection.transport.abort)
            self.ours.append(connection)
            self.sessions.append(Session(connection))
            self.sockets.append(stack.enter_context(client.dup()))
            self.theirs.append(peer)

    def empty(self) -> None:
        """Read what was sent, so that the next round finds room."""
        for peer in self.theirs:
            with suppress(BlockingIOError):
                peer.recv(1 << 20)


async def _welcome(peer: socket.socket) -> None:
    """A server's part of the opening handshake."""
    loop, protocol = asyncio.get_running_loop(), ServerProtocol()
    while not (requests := protocol.events_received()):
        protocol.receive_data(await loop.sock_recv(peer, 4096))
    protocol.send_response(protocol.accept(cast("Request", requests[0])))
    for data in protocol.data_to_send():
        await loop.sock_sendall(peer, data)
