"""One TCP connection of AudioSocket: how it is read, spoken to and let go, and how such connections wait.

Whose connection it is and what becomes of its audio is `audiosocket`'s concern. Sockets are read and written
here and not by a transport of asyncio: what a leg's socket still holds must be had at once when the leg ends,
even after a reset, and silence must never wait in a buffer of ours.
"""

import asyncio
import socket
from collections.abc import Callable, Sequence
from contextlib import suppress
from uuid import UUID

from bridge.wire.audiosocket import (
    HANGUP,
    Audio,
    AudioSocketError,
    HungUp,
    Message,
    Parser,
    frame,
    silence,
)

DRAIN_READS = 64
"""Reads at most when a leg ends: the kernel's queue is bounded, but somebody may fill it as fast."""

_BUFFER = memoryview(bytearray(65_536))  # the loop's thread reads one connection at a time
_GOODBYE = frame(HANGUP)

Take = Callable[["Peer", Sequence[Message], float], None]
Lost = Callable[["Peer", str | None], None]


class Peer:
    """The PBX at the other end of one connection, read whenever it has sent something."""

    __slots__ = (
        "_labelled", "_lost", "_parser", "_silence", "_sock", "_unsent", "heard_s", "key", "now_s", "take",
    )  # fmt: skip

    def __init__(self, sock: socket.socket, take: Take, lost: Lost) -> None:
        """`take` gets its messages, each lot with its time of arrival, until another takes its place. `lost`
        is told when there will be no more, and which garbage is to blame, if any; closing is left to it.
        `sock` does not block, and is the peer's from now on. Begins to read at once."""
        self.key: UUID | None = None
        """What it identified itself with."""
        self.take = take
        loop = asyncio.get_running_loop()
        self.now_s = loop.time
        self.heard_s = loop.time()
        self._sock = sock
        self._lost = lost
        self._parser = Parser()
        self._silence = silence()
        self._labelled = False  # it is known how the PBX labels its audio
        self._unsent = b""
        loop.add_reader(sock, self._read)

    @property
    def closed(self) -> bool:
        return self._sock.fileno() < 0

    def drain(self) -> None:
        """Hands on all that the kernel has of it."""
        for _ in range(DRAIN_READS):
            if not self._read():
                break

    def _read(self) -> bool:
        """Reads once. Returns whether there was something, so that there may be more."""
        if self.closed:
            return False
        try:
            size = self._sock.recv_into(_BUFFER)
        except BlockingIOError:
            return False
        except OSError:  # a reset, for it never read the last we sent: one of Asterisk's ways to hang up
            size = 0
        if size:
            self._feed(_BUFFER[:size])
        else:
            self._lost(self, None)
        return size > 0

    def _feed(self, data: memoryview) -> None:
        garbage = None
        try:
            messages: Sequence[Message] = self._parser.feed(data)
        except AudioSocketError as error:
            messages, garbage = error.before, str(error)
        self.heard_s = self.now_s()
        if messages:
            if not self._labelled:
                self._learn(messages)
            self.take(self, messages, self.heard_s)
        if garbage is not None or (messages and type(messages[-1]) is HungUp):
            self._lost(self, garbage)

    def _learn(self, messages: Sequence[Message]) -> None:
        """Silence is labelled as the PBX labels its audio: before Asterisk 22.7 it understands no other."""
        for message in messages:
            if isinstance(message, Audio):
                self._silence, self._labelled = silence(message.rate), True
                return

    def speak(self) -> bool:
        """Sends a frame of silence, in one write; false if it could not, for the PBX does not read.

        Where nothing is ever sent, Asterisk 22.7 and up can wait for it for ever (its issue 2089). A frame in
        two pieces can put it out of step, so one begins only when the last is out.
        """
        try:
            if self._unsent:
                self._unsent = self._unsent[self._sock.send(self._unsent) :]
            if self._unsent:
                return False
            self._unsent = self._silence[self._sock.send(self._silence) :]
        except BlockingIOError:
            return False
        except OSError:
            self.drain()  # what came before the reset is still to be had, and then the end itself
        return True

    def bid_farewell(self) -> None:
        """Says that we are done, and closes our side only: to an Asterisk that still sends, a closed
        connection would be a failed write, and that ends the call of the AudioSocket application."""
        with suppress(OSError):
            self._sock.send(self._unsent + _GOODBYE)
            self._sock.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """Without effect the second time."""
        if not self.closed:
            asyncio.get_running_loop().remove_reader(self._sock)
            self._sock.close()


class Line:
    """Peers that wait for something, oldest first: none longer than `wait_s`, and no more than `most`."""

    __slots__ = ("_due", "_give_up", "_most", "_wait_s")

    def __init__(self, wait_s: float, most: int, give_up: Callable[[Peer], None]) -> None:
        """`give_up` gets those that waited in vain, when they have left the line."""
        self._due: dict[Peer, float] = {}
        self._wait_s = wait_s
        self._most = most
        self._give_up = give_up

    def __len__(self) -> int:
        return len(self._due)

    def add(self, peer: Peer) -> None:
        """At the end of the line; where there is no room, the first is given up. The PBX never waits long, so
        the one that has waited longest is the likeliest not to be the PBX."""
        self._due[peer] = peer.now_s() + self._wait_s
        if len(self._due) > self._most:
            self._give_up_first()

    def remove(self, peer: Peer) -> bool:
        """Whether it was there."""
        return self._due.pop(peer, None) is not None

    def expire(self, now_s: float) -> None:
        while self._due and next(iter(self._due.values())) <= now_s:
            self._give_up_first()

    def clear(self) -> None:
        while self._due:
            self._give_up_first()

    def _give_up_first(self) -> None:
        first = next(iter(self._due))
        del self._due[first]
        self._give_up(first)
