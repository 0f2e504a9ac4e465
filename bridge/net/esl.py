"""One connection to FreeSWITCH's event socket (ESL): log in, subscribe, ask, and hear events until it ends.

What bytes mean is in `bridge.wire.esl`. A connection lives once; who wants another makes another, and then
compares all that is known with the PBX: it keeps no events for a client that is away. What the PBX sends is
read whatever the consumer does: a client that stops reading has its PBX keep 100 000 events for it, which
has hurt whole servers. So a consumer that falls far behind loses the connection instead.
"""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn, cast

import structlog

from bridge.wire import esl
from bridge.wire.esl import EslError, EslEvent, Message
from bridge.wire.pbxevents import PbxRefused, PbxUnreachable

_log = structlog.get_logger()

PING_S = 2.0
"""A link on which nothing is heard is asked after so long, and has as long to answer."""
_MOST_WAITING = 10_000
"""Events for the consumer."""
_MOST_WAITING_BYTES = 128 << 20
_MOST_BUFFERED = 1 << 20
"""Bytes that the PBX has not read: it never waits long, so then it is not there."""
_LAST_WORDS_S = 1.0
"""From SHUTDOWN on, in which the PBX hangs up: it took 30 ms. It would keep the link open for long."""
_TURN = 64
"""Events given before the loop has its turn: a consumer that never waits would keep it from reading."""

_PING = esl.api("status")
_LOGIN = "give the password of event_socket.conf.xml in ESL_PASSWORD"
_REFUSED = "the PBX's access list (apply-inbound-acl of event_socket.conf.xml) refuses us"
_ACL = "let this machine's address in with apply-inbound-acl in event_socket.conf.xml"


class Forbidden(PbxRefused):
    """The PBX does not let us in: trying again soon would end the same way."""

    def __init__(self, reason: str, mend: str) -> None:
        super().__init__(reason)
        self.mend = mend


@dataclass(slots=True)
class EslCounters:
    received: int = 0
    """Events."""
    malformed: int = 0
    """Messages and events dropped because they could not be read."""
    dropped: int = 0
    """Events that came when too many waited, and ended the connection."""
    requested: int = 0
    failed: int = 0
    """Commands that the PBX refused or did not answer."""


@dataclass(slots=True, frozen=True, eq=False)
class _Asked:
    """A command that waits for its reply. Replies have no names: the first one is the oldest command's."""

    kind: str
    """What its reply is; a command/reply too, if the command was not even looked at."""
    reply: asyncio.Future[Message]
    name: str
    timeout_s: float | None
    """What it may take from the reply before it on; None: somebody else sees to that."""


class EslConnection(asyncio.Protocol):
    """`open()` it once, `subscribe()`, ask, hear `events()`, and `close()` it."""

    def __init__(self, counters: EslCounters | None = None, *, ping_s: float = PING_S) -> None:
        """`counters` may be those of earlier connections, to go on from."""
        self.counters = EslCounters() if counters is None else counters
        self.why = ""
        """Why it ended; empty while it has not."""
        self._mend = ""
        self._ping_s = ping_s
        self._timeout_s = 5.0
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._reader = esl.Reader()
        self._greeted: asyncio.Future[None] = self._loop.create_future()
        self._asked: deque[_Asked] = deque()
        self._waiting: deque[Message | EslEvent] = deque()
        self._waiting_bytes = 0
        self._news = asyncio.Event()
        self._heard_s = 0.0
        self._ping: asyncio.Future[Message] | None = None
        self._pinged_s = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._leaving: asyncio.TimerHandle | None = None
        self._due: asyncio.TimerHandle | None = None
        """For the next reply that somebody waits for."""
        self._told_malformed = False

    # What the owner does.

    async def open(self, host: str, port: int, password: str, timeout_s: float) -> None:
        """Connect and log in, within `timeout_s`, which is then what each reply may take.

        Raises Forbidden (with what mends it) for a wrong password and for an address that the PBX's access
        list does not let in, PbxUnreachable, and PbxError for a password that cannot be sent.
        """
        login = esl.auth(password)
        self._timeout_s = timeout_s
        try:
            async with asyncio.timeout(timeout_s):
                await self._loop.create_connection(lambda: self, host, port)
                await self._greeted
                reply = (await self._ask(login, esl.COMMAND_REPLY)).reply
            if not reply.startswith("+OK"):
                self._end(why := "the PBX refuses the password")
                self.why = why  # and not that the PBX took leave, which it does then
                raise Forbidden(why, _LOGIN)
        except TimeoutError:
            self._give_up(f"no login within {timeout_s:g} s")
        except OSError as error:
            self._give_up(f"{error}" or type(error).__name__)
        except BaseException:
            self.close()
            raise
        self._heard_s = self._loop.time()
        self._timer = self._loop.call_later(self._ping_s, self._tick)

    async def subscribe(self, events: Iterable[str], subclasses: Iterable[str] = ()) -> None:
        """Hear these events from now on, CUSTOM ones by their `subclasses`, and SHUTDOWN, which ends it.

        Raises PbxRefused, PbxUnreachable, PbxError.
        """
        names = dict.fromkeys([*events, "SHUTDOWN"])
        await self._request(esl.subscribe(names, subclasses), esl.COMMAND_REPLY, "event", None)

    async def api(self, command: str, *words: str, timeout_s: float | None = None) -> str:
        """What a command answers, as it is; only the last of `words` may have spaces.

        While it is carried out, the PBX sends no event and does nothing else that was asked here: what it may
        take runs from the reply before it on. Raises PbxRefused for -ERR and -USAGE, with what the PBX says;
        PbxUnreachable when no reply comes in time, which ends the connection, for later replies would be
        taken for earlier ones; PbxError.
        """
        data = esl.api(command, *words)
        name = command.partition(" ")[0]
        return (await self._request(data, esl.API_RESPONSE, name, timeout_s)).reply

    async def send_event(self, subclass: str, headers: Mapping[str, str], body: str = "") -> None:
        """Send all who listen to the PBX a CUSTOM event. Raises PbxRefused, PbxUnreachable, PbxError."""
        data = esl.sendevent(subclass, headers, body)
        await self._request(data, esl.COMMAND_REPLY, "sendevent", None)

    async def events(self) -> AsyncGenerator[EslEvent]:
        """Events in order, until the connection ends, and then those that still wait; `why` says why.

        One that cannot be read is counted and passed over.
        """
        given = 0
        while True:
            while self._waiting:
                message = self._waiting.popleft()
                if isinstance(message, EslEvent):
                    yield message
                    continue
                self._waiting_bytes -= len(message.body)
                event = self._read(message)
                if event is not None:
                    yield event
                given += 1
                if given % _TURN == 0:
                    await asyncio.sleep(0)
            if self.why:
                return
            self._news.clear()
            await self._news.wait()

    def post(self, event: EslEvent) -> None:
        """Put an event of our own behind those that wait; when it has ended, nothing comes of it."""
        if not self.why:
            self._waiting.append(event)
            self._news.set()

    def close(self) -> None:
        """Any number of times; no event comes any more."""
        self._end("closed")
        self._waiting.clear()

    # Asking.

    async def _request(self, data: bytes, kind: str, name: str, timeout_s: float | None) -> Message:
        """The reply. Raises PbxRefused, PbxUnreachable."""
        self.counters.requested += 1
        timeout_s = self._timeout_s if timeout_s is None else timeout_s
        try:
            reply = await self._ask(data, kind, name, timeout_s)
            if (why := esl.refusal(reply)) is not None:
                raise PbxRefused(why)
        except (PbxRefused, PbxUnreachable):
            self.counters.failed += 1
            raise
        return reply

    def _ask(
        self, data: bytes, kind: str, name: str = "", timeout_s: float | None = None
    ) -> asyncio.Future[Message]:
        """The reply to come. Who no longer waits for it leaves its place in the line."""
        transport = self._transport
        if self.why or transport is None:
            raise self._lost() if self.why else PbxUnreachable("not connected")
        asked = _Asked(kind, self._loop.create_future(), name, timeout_s)
        first = self._expected() is None
        self._asked.append(asked)
        if first:
            self._allow()
        transport.write(data)
        if transport.get_write_buffer_size() > _MOST_BUFFERED:
            self._end("the PBX does not read")
        return asked.reply

    # What the loop calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is none by name
        if self.why:
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        self._heard_s = self._loop.time()
        try:
            messages, fault = self._reader.feed(data), ""
        except EslError as error:
            messages, fault = list(error.before), f"not understood: {error}"
        for message in messages:
            if self.why:
                return
            self._take(message)
        if fault:
            self.counters.malformed += 1
            self._end(fault)

    def connection_lost(self, exc: Exception | None) -> None:
        self._end(f"{exc}" if exc is not None else "closed by the PBX")

    def _take(self, message: Message) -> None:
        match message.kind:
            case esl.EVENT_JSON | esl.EVENT_PLAIN:
                self._queue(message)
            case esl.COMMAND_REPLY | esl.API_RESPONSE:
                self._answered(message)
            case esl.AUTH_REQUEST:
                if not self._greeted.done():
                    self._greeted.set_result(None)
            case esl.RUDE_REJECTION:
                self._end(_REFUSED, _ACL)
            case esl.DISCONNECT_NOTICE:
                self._end("the PBX takes leave")
            case _:
                self._malformed("message of a kind that was not asked for")

    def _queue(self, message: Message) -> None:
        self.counters.received += 1
        self._waiting_bytes += len(message.body)
        if len(self._waiting) >= _MOST_WAITING or self._waiting_bytes > _MOST_WAITING_BYTES:
            self._waiting_bytes -= len(message.body)
            self.counters.dropped += 1
            self._end(f"{len(self._waiting)} events wait to be looked at")
            return
        self._waiting.append(message)
        self._news.set()

    def _answered(self, message: Message) -> None:
        if not self._asked:
            self._end("a reply to nothing that was asked")
            return
        asked = self._asked.popleft()
        if message.kind not in (asked.kind, esl.COMMAND_REPLY):
            self._asked.appendleft(asked)
            self._end(f"a reply of kind {message.kind[:40]} instead of {asked.kind}")
            return
        if not asked.reply.done():
            asked.reply.set_result(message)
        self._allow()

    def _allow(self) -> None:
        """The next reply's time begins: one command is carried out at a time, however many wait."""
        if self._due is not None:
            self._due.cancel()
        asked = self._expected()
        if asked is None or asked.timeout_s is None:
            self._due = None
        else:
            self._due = self._loop.call_later(asked.timeout_s, self._overdue, asked)

    def _overdue(self, asked: _Asked) -> None:
        if asked.reply.done():  # nobody waits for it any more, but perhaps for one behind it
            self._allow()
        else:
            self._end(f"no reply to {asked.name} within {asked.timeout_s:g} s")

    def _read(self, message: Message) -> EslEvent | None:
        try:
            event = esl.event_of(message)
        except EslError as error:
            self._malformed(str(error))
            return None
        if event.name == "SHUTDOWN" and self._leaving is None and not self.why:
            self._leaving = self._loop.call_later(_LAST_WORDS_S, self._end, "the PBX shuts down")
        return event

    def _malformed(self, reason: str) -> None:
        self.counters.malformed += 1
        if not self._told_malformed:
            self._told_malformed = True
            _log.warning("esl event not understood; further ones are only counted", reason=reason)

    # It ends.

    def _tick(self) -> None:
        """A half-open link answers nothing; one on which anything is heard is left alone."""
        now_s, since_s = self._loop.time(), self._heard_s
        if self._ping is not None and not self._ping.done():
            since_s = max(since_s, self._pinged_s)
            if now_s - since_s >= self._ping_s:
                self._end(f"no answer to a ping within {self._ping_s:g} s")
        elif now_s - since_s >= self._ping_s and self._expected() is None:
            self._ping, self._pinged_s = self._ask(_PING, esl.API_RESPONSE), now_s
        if not self.why:
            due_s = since_s + self._ping_s
            self._timer = self._loop.call_at(due_s if due_s > now_s else now_s + self._ping_s, self._tick)

    def _expected(self) -> _Asked | None:
        """The oldest command for whose reply somebody waits, which has a time of its own to come in."""
        timed = (asked for asked in self._asked if asked.timeout_s is not None)
        return next((asked for asked in timed if not asked.reply.done()), None)

    def _give_up(self, why: str) -> NoReturn:
        self._end(why)
        raise PbxUnreachable(why) from None

    def _lost(self) -> PbxRefused | PbxUnreachable:
        """What to raise now that it has ended."""
        return Forbidden(self.why, self._mend) if self._mend else PbxUnreachable(self.why)

    def _end(self, why: str, mend: str = "") -> None:
        """It is of no more use: what was asked is not answered, and no event will come."""
        if self.why:
            return
        self.why, self._mend = why, mend
        waiting: list[asyncio.Future[Any]] = [self._greeted, *(asked.reply for asked in self._asked)]
        for future in waiting:
            if not future.done():
                future.set_exception(self._lost())
                future.exception()  # seen, though perhaps nobody waits for it
        self._asked.clear()
        for timer in (self._timer, self._leaving, self._due):
            if timer is not None:
                timer.cancel()
        if self._transport is not None:
            self._transport.abort()
        self._news.set()
