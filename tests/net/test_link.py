"""bridge/net/link.py over a real socket pair: order, answers, errors, cancelling, and an end that is gone."""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from structlog.testing import capture_logs

from bridge.net import link as net
from bridge.net.link import Link, LinkLost
from bridge.wire.link import Flaw, Leave, LinkError
from bridge.wire.rtzr import Unreachable


async def _nothing(question: Any) -> Any:
    raise AssertionError(f"nothing was to be asked: {question}")


@asynccontextmanager
async def pair(
    take: Callable[[Any], None] = lambda _: None, answer: Callable[[Any], Awaitable[Any]] = _nothing
) -> AsyncIterator[tuple[Link, Link]]:
    """Two ends; the second one takes and answers."""
    ours, theirs = socket.socketpair()
    one, other = Link(lambda _: None, _nothing), Link(take, answer)
    await one.connect(ours)
    await other.connect(theirs)
    try:
        yield one, other
    finally:
        one.close()
        other.close()
        await asyncio.gather(one.gone(), other.gone())


async def test_messages_come_in_order() -> None:
    came: list[Any] = []
    done = asyncio.Event()

    def take(message: Any) -> None:
        came.append(message)
        if len(came) == 1000:
            done.set()

    async with pair(take) as (one, _), asyncio.timeout(10):
        sent = [Leave(number) for number in range(1000)]
        for message in sent:
            one.tell(message)
        await done.wait()
    assert came == sent


async def test_questions_are_answered_each_to_its_asker_in_whatever_order() -> None:
    gates = {number: asyncio.Event() for number in range(3)}

    async def answer(question: Any) -> Any:
        await gates[question.session].wait()
        return question.session * 10

    async with pair(answer=answer) as (one, _), asyncio.timeout(10):
        asked = [asyncio.create_task(one.ask(Leave(number))) for number in range(3)]
        for number in (2, 0, 1):
            gates[number].set()
            assert await asked[number] == number * 10


async def test_what_the_other_end_raises_the_asker_gets() -> None:
    async def answer(_: Any) -> Any:
        raise Unreachable("streaming: refused")

    async with pair(answer=answer) as (one, _), asyncio.timeout(10):
        with pytest.raises(Unreachable, match="streaming: refused"):
            await one.ask(Leave(1))


class _TwoWords(Exception):
    """Made of two words, but told only one: it could be written and not read."""

    def __init__(self, one: str, other: str) -> None:
        super().__init__(one + other)


async def test_an_error_that_could_not_be_read_there_is_named() -> None:
    async def answer(_: Any) -> Any:
        raise _TwoWords("a", "b")

    async with pair(answer=answer) as (one, _), asyncio.timeout(10):
        with pytest.raises(LinkError, match="_TwoWords: ab"):
            await one.ask(Leave(1))


async def test_an_answer_that_cannot_be_written_is_an_error_of_the_asker() -> None:
    async def answer(_: Any) -> Any:
        return lambda: None

    async with pair(answer=answer) as (one, _), asyncio.timeout(10):
        with pytest.raises(Exception, match="pickle"):
            await one.ask(Leave(1))


async def test_a_message_that_goes_wrong_harms_no_other() -> None:
    came: asyncio.Queue[Any] = asyncio.Queue()

    def take(message: Any) -> None:
        if message.session == 1:
            raise ValueError("not this one")
        came.put_nowait(message)

    with capture_logs() as logs:
        async with pair(take) as (one, _), asyncio.timeout(10):
            for number in range(3):
                one.tell(Leave(number))
            assert [await came.get(), await came.get()] == [Leave(0), Leave(2)]
    assert [(line["event"], line["kind"]) for line in logs] == [("message not carried out", "Leave")]


async def test_a_question_that_is_given_up_is_given_up_there_too() -> None:
    began, cancelled = asyncio.Event(), asyncio.Event()

    async def answer(_: Any) -> Any:
        began.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    async with pair(answer=answer) as (one, _), asyncio.timeout(10):
        asking = asyncio.create_task(one.ask(Leave(1)))
        await began.wait()
        asking.cancel()
        await cancelled.wait()
        with pytest.raises(asyncio.CancelledError):
            await asking


async def test_when_the_other_end_is_gone_no_question_hangs() -> None:
    began = asyncio.Event()

    async def answer(_: Any) -> Any:
        began.set()
        await asyncio.Event().wait()

    async with pair(answer=answer) as (one, other), asyncio.timeout(10):
        asking = asyncio.create_task(one.ask(Leave(1)))
        await began.wait()
        other.close()
        with pytest.raises(LinkLost):
            await asking
        await one.gone()
        one.tell(Leave(2))  # nobody is there: without effect
        with pytest.raises(LinkLost):
            await one.ask(Leave(3))


async def test_an_end_that_does_not_read_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(net, "_MOST_BUFFERED", 1 << 20)
    ours, theirs = socket.socketpair()
    with theirs, capture_logs() as logs:
        one = Link(lambda _: None, _nothing)
        await one.connect(ours)
        for _ in range(64):
            one.tell(Flaw(None, "x" * 65_536))  # type: ignore[arg-type]
        async with asyncio.timeout(10):
            await one.gone()
    assert [line["event"] for line in logs] == ["process does not read; given up"]


async def test_strange_bytes_end_the_link() -> None:
    ours, theirs = socket.socketpair()
    with theirs, capture_logs() as logs:
        one = Link(lambda _: None, _nothing)
        await one.connect(ours)
        theirs.send(b"\xff\xff\xff\xff")
        async with asyncio.timeout(10):
            await one.gone()
    assert [line["event"] for line in logs] == ["process not understood; given up"]
