"""The door to RTZR against the emulator: who waits, who is let in, and that nothing is left behind."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from random import Random
from typing import Any

import pytest
from structlog.testing import capture_logs

from bridge.emulator.server import Emulator, Knobs
from bridge.net.rtzr import Rtzr, Session, Tokens
from bridge.quota import Governor, Permit
from bridge.types import Codec
from bridge.wire.quota import Counters, OnFull, QuotaSettings
from bridge.wire.rtzr import Refused, Unreachable
from tests.scale import scaled

QUICK: dict[str, Any] = {
    "knock_s": 0.02,
    "knock_most_s": 0.05,
    "pause_s": 0.005,
    "pause_most_s": 0.05,
    "proof_s": 0.05,
    "at_once_s": 1.0,
    "forget_s": 30.0,
    "settle_s": 0.0,
    "probe_s": 0.05,
    "rate": 1000.0,
}
"""The real pace in hundredths."""

Opening = asyncio.Task[Permit[Session]]


class Door:
    """A governor in front of an emulated RTZR, and all who ever asked."""

    def __init__(self, emulator: Emulator, rtzr: Rtzr, settings: QuotaSettings) -> None:
        clock = asyncio.get_running_loop().time
        self.emulator = emulator
        self.governor = Governor(rtzr, settings, clock=clock, random01=Random(1).random)
        self.asked: list[Opening] = []

    def ask(self, priority: int = 0) -> Opening:
        task = asyncio.create_task(self.governor.open(Codec.ULAW, priority))
        self.asked.append(task)
        return task

    async def opened(self, *priorities: int) -> list[Permit[Session]]:
        return [await self.ask(priority) for priority in priorities]

    def knob(self, **changed: Any) -> None:
        self.emulator.knobs = replace(self.emulator.knobs, **changed)

    def counters(self) -> Counters:
        return self.governor.counters

    def refused(self, code: str) -> int:
        return self.counters().refused.get(code, 0)

    async def leave(self) -> None:
        for task in self.asked:
            task.cancel()
        for permit in await asyncio.gather(*self.asked, return_exceptions=True):
            if isinstance(permit, Permit):
                await close(permit)


@asynccontextmanager
async def door(knobs: Knobs | None = None, **settings: Any) -> AsyncIterator[Door]:
    """On exit nothing of it is left: no socket, no place in the queue, no timer."""
    knobs = knobs or Knobs()
    async with (
        Emulator(knobs) as emulator,
        Tokens(
            emulator.auth_url, knobs.client_id, knobs.client_secret, renew_before_s=600, timeout_s=2
        ) as tokens,
    ):
        rtzr = Rtzr(tokens, emulator.stream_url, {}, timeout_s=2)
        one = Door(emulator, rtzr, QuotaSettings(**{**QUICK, **settings}))
        try:
            yield one
        finally:
            await one.leave()
        counters = one.counters()
        assert (counters.waiting, counters.dialling, counters.held) == (0, 0, 0)
        assert one.governor._timer is None
        assert rtzr.sessions_open == 0
        await until(lambda: emulator.stats().sockets_open == 0)


async def close(permit: Permit[Session]) -> None:
    await permit.session.close()
    permit.release()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - what it waits for has no event of its own
            await asyncio.sleep(0.002)


async def test_five_hundred_legs_at_once_are_not_held_up_when_rtzr_is_fine() -> None:
    legs = scaled(500, least=100)
    async with door(Knobs(connect_delay_ms=200)) as one:
        started_s = asyncio.get_running_loop().time()
        tasks = [one.ask() for _ in range(legs)]
        await asyncio.sleep(0)
        assert one.counters().dialling == legs
        await asyncio.gather(*tasks)
        assert one.counters().held == one.emulator.stats().sockets_open == legs
        assert asyncio.get_running_loop().time() - started_s < legs * 0.05


async def test_never_more_than_max_sessions_and_a_release_lets_in_the_highest_priority() -> None:
    async with door(max_sessions=2) as one:
        first, second = await one.opened(0, 0)
        low, high = one.ask(0), one.ask(3)
        await asyncio.sleep(0)
        assert one.counters().waiting == 2
        await close(first)
        permit = await high
        assert not low.done()
        assert one.emulator.stats().sockets_open == 2
        await close(second)
        await low
        await close(permit)
        assert one.refused("A0002") == 0


@pytest.mark.parametrize("code", ["A0001", "A0002"])
async def test_rtzr_full_is_waited_for_and_said_once(code: str) -> None:
    with capture_logs() as logs:
        async with door(Knobs(max_streams=3, full_code=code)) as one:
            permits = await one.opened(0, 0, 0)
            waiting = [one.ask() for _ in range(20)]
            await until(lambda: one.refused(code) >= 25)
            assert one.counters().waiting + one.counters().dialling == 20
            assert not one.governor.spent
            await close(permits.pop())
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            assert waiting[0].done()
            assert one.emulator.stats().sockets_open == 3
    assert [log["held"] for log in logs if log["event"] == "rtzr channels full"] == [3]
    assert not [log for log in logs if log["log_level"] == "error"]


async def test_all_who_wait_are_served_one_after_another() -> None:
    served = list[int]()
    async with door(Knobs(max_streams=2)) as one:

        async def leg(number: int) -> None:
            permit = await one.governor.open(Codec.ULAW)
            served.append(number)
            await close(permit)

        before = await one.opened(0, 0)
        legs = [asyncio.create_task(leg(number)) for number in range(40)]
        await until(lambda: one.refused("A0002") >= 40)
        for permit in before:
            await close(permit)
        async with asyncio.timeout(20):
            await asyncio.gather(*legs)
        assert one.counters().admitted == 42
    # Two or three dials are under way at a time, and may be answered in any order.
    assert sorted(served) == list(range(40))
    assert all(abs(number - place) <= 3 for place, number in enumerate(served))


async def test_quota_spent_is_said_once_and_over_with_the_first_success() -> None:
    with capture_logs() as logs:
        async with door(Knobs(max_streams=1, full_code="A0001")) as one:
            (other,) = await one.opened(0)
            # Another program of the account has the channel: all that we see is its refusals.
            other.release()
            leg = one.ask()
            await until(lambda: one.counters().spent)
            await until(lambda: one.refused("A0001") >= 6)
            assert not one.governor.room()
            assert one.counters().spent
            await other.session.close()
            await leg
            assert not one.governor.spent
    spent = [log for log in logs if log["log_level"] == "error"]
    assert [log["event"] for log in spent] == ["rtzr quota spent; nothing is transcribed"]
    assert [log["event"] for log in logs if log.get("over") == "spent"] == ["rtzr is itself again"]


async def test_what_is_wrong_with_the_request_is_told_to_the_leg() -> None:
    async with door() as one:
        one.governor._speech._options = {"domain": "NOWHERE"}  # type: ignore[attr-defined]
        with pytest.raises(Refused) as caught:
            await one.ask()
        assert caught.value.status == 400
        assert one.counters().failed == one.refused("400") == 1


async def test_an_error_of_rtzr_is_told_to_the_leg_which_may_come_again() -> None:
    async with door() as one:
        await close((await one.opened(0))[0])
        one.knob(broken=True)
        for _ in range(3):
            with pytest.raises(Refused, match="500"):
                await one.ask()
        one.knob(broken=False)
        await one.opened(0)
        assert one.refused("500") == 3


class Broken:
    """An RTZR that answers as it is told; there is no knob for that in the emulator."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    async def open(self, codec: Codec, options: object = None) -> None:
        raise self.error


@pytest.mark.parametrize(
    ("error", "words"),
    [(Refused(503, "", ""), ["rtzr is under maintenance (503)"]), (Unreachable("streaming: down"), [])],
)
async def test_maintenance_is_said_once_and_not_once_a_leg(error: Exception, words: list[str]) -> None:
    governor = Governor(
        Broken(error), QuotaSettings(), clock=asyncio.get_running_loop().time, random01=Random(1).random
    )
    with capture_logs() as logs:
        for _ in range(10):
            with pytest.raises(type(error)):
                await governor.open(Codec.ULAW)
    assert [log["event"] for log in logs] == words
    assert governor.counters.failed == 10


async def test_any_other_failure_gives_the_place_back() -> None:
    governor = Governor(
        Broken(RuntimeError("bug")),
        QuotaSettings(max_sessions=1),
        clock=asyncio.get_running_loop().time,
        random01=Random(1).random,
    )
    for _ in range(2):
        with pytest.raises(RuntimeError):
            await governor.open(Codec.ULAW)
    assert governor.counters.withdrawn == 2
    assert governor.counters.dialling == 0


async def test_the_lowest_is_told_to_make_room() -> None:
    async with door(max_sessions=2, on_full=OnFull.LOWEST_PRIORITY_OUT) as one:
        low, high = await one.opened(0, 2)
        urgent = one.ask(1)
        async with asyncio.timeout(5):
            await low.evicted.wait()
        assert not high.evicted.is_set()
        again = one.ask(0)
        await close(low)
        await urgent
        assert not again.done()
        assert one.counters().evicted == 1


async def test_a_permit_is_given_back_once() -> None:
    async with door(max_sessions=1) as one:
        (permit,) = await one.opened(0)
        await close(permit)
        permit.release()
        permit.failed_at_once()
        assert one.counters().released == 1
        assert one.counters().refused == {}


async def test_a_session_that_rtzr_closes_at_once_is_one_too_many() -> None:
    async with door(knock_s=30.0, knock_most_s=30.0) as one:
        await one.opened(0, 0)
        (third,) = await one.opened(0)
        await third.session.close()
        third.failed_at_once()
        third.release()
        assert one.refused("closed") == 1
        assert one.counters().full
        one.ask()
        await asyncio.sleep(0)
        assert one.counters().waiting == 1


async def test_the_alarm_is_said_once() -> None:
    with capture_logs() as logs:
        async with door(max_sessions=5) as one:
            permits = await one.opened(0, 0, 0, 0, 0)
            assert one.counters().alarm
            for permit in permits[:3]:
                await close(permit)
            assert not one.counters().alarm
    assert [log["held"] for log in logs if log["event"] == "rtzr channels nearly full"] == [4]


async def test_cancelled_at_any_moment_nothing_leaks() -> None:
    """Legs give up while they wait, while they dial, as they are let in, and just after."""
    random, turns = Random(7), scaled(1000, least=200)
    async with door(Knobs(max_streams=4, connect_delay_ms=1), max_sessions=6) as one:
        permits = list[Permit[Session]]()

        async def leg() -> None:
            permit = await one.governor.open(Codec.ULAW, random.choice([0, 0, 1]))
            permits.append(permit)
            try:
                await asyncio.sleep(random.random() * 0.01)
            finally:
                permit.session.abort()
                permit.release()

        legs = list[asyncio.Task[None]]()
        for _ in range(turns):
            legs.append(asyncio.create_task(leg()))
            for _ in range(random.randrange(4)):
                await asyncio.sleep(0 if random.random() < 0.5 else random.random() * 0.004)
            random.choice(legs[-8:]).cancel()
        for task in legs:
            if random.random() < 0.5:
                task.cancel()
        async with asyncio.timeout(60):
            outcomes = await asyncio.gather(*legs, return_exceptions=True)
        assert {type(outcome) for outcome in outcomes} == {asyncio.CancelledError, type(None)}
        assert permits
        counters = one.counters()
        assert counters.asked == counters.admitted + counters.failed + counters.withdrawn
        assert counters.admitted == counters.released == len(permits)
        (last,) = await one.opened(0)
        await close(last)


class _Away:
    """RTZR, which takes nobody while it is `down`."""

    down = True

    async def open(self, codec: Codec, options: object = None) -> Any:
        if self.down:
            raise Unreachable("connection refused")
        return object()


async def test_it_tells_that_rtzr_is_away_once_it_is_no_chance_and_until_it_is_old() -> None:
    now_s, rtzr = 0.0, _Away()
    governor: Governor[Any] = Governor(rtzr, QuotaSettings(), clock=lambda: now_s, random01=Random(1).random)
    told = []
    for _ in range(3):
        with pytest.raises(Unreachable):
            await governor.open(Codec.ULAW)
        told.append(governor.away)
        now_s += 15.0
    assert told == ["", "", "connection refused"]
    now_s += 60.0
    assert governor.away == "", "nobody has tried since: nobody knows"
    with pytest.raises(Unreachable):
        await governor.open(Codec.ULAW)
    assert governor.away
    rtzr.down = False
    (await governor.open(Codec.ULAW)).release()
    assert governor.away == ""
