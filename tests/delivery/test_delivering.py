"""bridge/delivery/delivering.py: in order for each call, calls independent, at least once, come what may."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from bridge.delivery.delivering import Delivery
from bridge.outbox.outbox import Outbox
from bridge.outbox.stored import Rejected, Stored, Unreachable
from bridge.wire.retry import RetrySettings
from tests.outboxes import QUICK, A, event, ids, opened
from tests.scale import scaled


class Receiver:
    """A sender whose receiver does as `answer` says: it raises, or waits, or neither."""

    name = A

    def __init__(self, batch: int = 1) -> None:
        self.batch = batch
        self.sends: list[list[str]] = []
        """Every try."""
        self.times: list[float] = []
        """When each was made, in seconds of the loop."""
        self.has: list[str] = []
        self.changed = asyncio.Event()
        self.answer: Callable[[list[str]], None] = lambda _: None
        self.stuck: dict[str, asyncio.Event] = {}

    async def send(self, events: Sequence[Stored]) -> None:
        got = [one.id for one in events]
        self.sends.append(got)
        self.times.append(asyncio.get_running_loop().time())
        self.changed.set()
        if got[0][0] in self.stuck:
            await self.stuck[got[0][0]].wait()
        self.answer(got)
        self.has += got

    def of(self, call: str) -> list[int]:
        """What the receiver has of a call, repeats dropped."""
        return list(dict.fromkeys(int(one.split("/")[1]) for one in self.has if one.startswith(f"{call}/")))

    async def until(self, holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(20):
            while not holds():
                self.changed.clear()
                with suppress(TimeoutError):
                    async with asyncio.timeout(0.01):
                        await self.changed.wait()


@asynccontextmanager
async def delivering(
    outbox: Outbox, receiver: Receiver, settings: RetrySettings = QUICK, side_by_side: int = 8
) -> AsyncIterator[Delivery]:
    delivery = Delivery(outbox, receiver, settings, side_by_side=side_by_side)
    running = asyncio.create_task(delivery.run())
    try:
        yield delivery
    finally:
        assert not running.done() or running.result() is None
        running.cancel()
        await asyncio.wait([running])


async def emptied(outbox: Outbox) -> None:
    async with asyncio.timeout(20):
        while await ids(outbox, most=1):  # noqa: ASYNC110 - an outbox tells nobody that it is empty
            await asyncio.sleep(0.002)


def refusing(bad: str, error: Exception) -> Callable[[list[str]], None]:
    def answer(got: list[str]) -> None:
        if bad in got:
            raise error

    return answer


@pytest.mark.parametrize("batch", [1, 100])
async def test_all_goes_out_in_order_and_is_done(tmp_path: Path, batch: int) -> None:
    receiver = Receiver(batch)
    async with opened(tmp_path / "o.db") as outbox, delivering(outbox, receiver) as delivery:
        for n in range(20):
            await outbox.add([event(n, call) for call in "xyz"])
        await receiver.until(lambda: len(receiver.has) == 60)
        await emptied(outbox)
        assert [receiver.of(call) for call in "xyz"] == [list(range(20))] * 3
        assert (delivery.counters.sent, delivery.counters.failed) == (60, 0)
        assert delivery.status.state == "delivering"
        async with asyncio.timeout(5):
            await delivery.settle()


async def test_one_that_ends_may_wait_for_what_can_still_go_out(tmp_path: Path) -> None:
    receiver = Receiver()
    receiver.answer = refusing("x/1", Rejected("500"))
    slow = RetrySettings(base_s=3600)
    async with opened(tmp_path / "o.db") as outbox, delivering(outbox, receiver, slow) as delivery:
        for n in range(3):
            await outbox.add([event(n, call) for call in "xyz"])
            async with asyncio.timeout(5):
                await delivery.settle()
            assert receiver.of("y") == receiver.of("z") == list(range(n + 1))
        assert receiver.of("x") == [0]


async def test_batches_are_what_waits_and_no_more_than_wanted(tmp_path: Path) -> None:
    receiver = Receiver(100)
    async with opened(tmp_path / "o.db") as outbox:
        await outbox.add([event(n, f"{n % 7}") for n in range(250)])
        async with delivering(outbox, receiver, side_by_side=1):
            await receiver.until(lambda: len(receiver.has) == 250)
            await emptied(outbox)
            await outbox.add([event(999)])
            await receiver.until(lambda: len(receiver.has) == 251)
    assert [len(one) for one in receiver.sends] == [100, 100, 50, 1]


@pytest.mark.parametrize("batch", [1, 3])
async def test_a_call_that_hangs_holds_up_no_other(tmp_path: Path, batch: int) -> None:
    receiver = Receiver(batch)
    receiver.stuck["x"] = asyncio.Event()
    async with opened(tmp_path / "o.db") as outbox, delivering(outbox, receiver) as delivery:
        await outbox.add([event(1, "x")])
        await receiver.until(lambda: bool(receiver.sends))
        await outbox.add([event(n, call) for n in (2, 3) for call in "xyz"])
        await receiver.until(lambda: len(receiver.has) == 4 and delivery.status.sending == 1)
        assert (receiver.of("x"), receiver.of("y"), receiver.of("z")) == ([], [2, 3], [2, 3])
        receiver.stuck.pop("x").set()
        await receiver.until(lambda: receiver.of("x") == [1, 2, 3])


@pytest.mark.parametrize("batch", [1, 50])
async def test_a_call_whose_event_fails_waits_for_it_while_others_go_on(tmp_path: Path, batch: int) -> None:
    receiver = Receiver(batch)
    receiver.answer = refusing("x/2", Rejected("500"))
    async with opened(tmp_path / "o.db") as outbox, delivering(outbox, receiver) as delivery:
        await outbox.add([event(n, call) for n in range(5) for call in "xyz"])
        await receiver.until(lambda: receiver.of("y") == receiver.of("z") == list(range(5)))
        await receiver.until(lambda: sum("x/2" in one for one in receiver.sends) > 10)
        assert receiver.of("x") == [0, 1]
        assert (await outbox.counts())[A].error == "500"
        assert delivery.status.resting == 1
        receiver.answer = lambda _: None
        await receiver.until(lambda: receiver.of("x") == list(range(5)))
        await emptied(outbox)
        assert (await outbox.counts())[A].error == ""


@pytest.mark.parametrize("batch", [1, 50])
async def test_an_event_that_is_never_taken_is_given_up_in_the_end(tmp_path: Path, batch: int) -> None:
    receiver = Receiver(batch)
    receiver.answer = refusing("x/1", Rejected("413", poison=True))
    with capture_logs() as logs:
        async with opened(tmp_path / "o.db") as outbox, delivering(outbox, receiver) as delivery:
            await outbox.add([event(n, call) for n in range(3) for call in "xy"])
            await receiver.until(lambda: ["x/1"] in receiver.sends)
            await outbox.add([event(3, "y")])
            await receiver.until(lambda: receiver.of("x") == [0, 2])
            await emptied(outbox)
            assert receiver.of("y") == [0, 1, 2, 3]
            assert receiver.sends.count(["x/1"]) >= QUICK.tries
            assert (delivery.counters.given_up, outbox.counters.given_up) == (1, 1)
    (told,) = [line for line in logs if line["event"] == "event given up"]
    assert (told["event_id"], told["reason"]) == ("x/1", "413")


@pytest.mark.parametrize("batch", [1, 50])
async def test_one_that_takes_nothing_at_all_costs_no_event(tmp_path: Path, batch: int) -> None:
    """It has the wrong key, say, and answers 400 to everything."""
    receiver = Receiver(batch)

    def refuses(_: list[str]) -> None:
        raise Rejected("400", poison=True)

    receiver.answer = refuses
    async with opened(tmp_path / "o.db") as outbox, delivering(outbox, receiver) as delivery:
        await outbox.add([event(n, call) for n in range(3) for call in "xy"])
        await receiver.until(lambda: receiver.sends.count(["x/0"]) > 3 * QUICK.tries)
        receiver.answer = lambda _: None
        await receiver.until(lambda: receiver.of("x") == receiver.of("y") == [0, 1, 2])
        assert delivery.counters.given_up == 0


async def test_one_event_at_which_a_receiver_asks_for_rest_does_not_cost_the_others_theirs(
    tmp_path: Path,
) -> None:
    """It answers 503 with Retry-After to whatever holds it, and takes all others."""
    receiver = Receiver(10)
    receiver.answer = refusing("x/0", Rejected("503", retry_after_s=0.02))
    settings = RetrySettings(base_s=0.02, probe_cap_s=0.02)
    async with opened(tmp_path / "o.db") as outbox, delivering(outbox, receiver, settings):
        await outbox.add([event(0, "x"), *(event(n, f"{call}") for n in range(2) for call in range(100))])
        await receiver.until(lambda: all(receiver.of(f"{call}") == [0, 1] for call in range(100)))
    assert sum("x/0" in one for one in receiver.sends) < 12


async def test_a_receiver_that_dies_at_one_event_gets_all_others(tmp_path: Path) -> None:
    receiver = Receiver(10)
    receiver.answer = refusing("x/0", Unreachable("reset"))
    async with opened(tmp_path / "o.db") as outbox, delivering(outbox, receiver):
        await outbox.add([event(n, call) for n in range(5) for call in "xyz"])
        await receiver.until(lambda: receiver.of("y") == receiver.of("z") == list(range(5)))
        for n in range(5, 20):
            await outbox.add([event(n, call) for call in "xyz"])
            await receiver.until(lambda: len(receiver.of("y")) == len(receiver.of("z")) == n + 1)  # noqa: B023
        assert receiver.of("x") == []


async def test_an_endpoint_that_is_gone_is_asked_no_more_until_a_person_says_so(tmp_path: Path) -> None:
    receiver = Receiver()
    receiver.answer = refusing("x/0", Rejected("410", gone=True))
    async with opened(tmp_path / "o.db") as outbox, delivering(outbox, receiver) as delivery:
        await outbox.add([event(0, "x"), event(1, "x")])
        await receiver.until(lambda: delivery.status.state == "gone")
        await outbox.add([event(n, "y") for n in range(3)])
        await delivery.settle()
        assert receiver.sends == [["x/0"]]
        assert (await outbox.counts())[A].waiting == 5
        receiver.answer = lambda _: None
        delivery.retry()
        await receiver.until(lambda: len(receiver.has) == 5)
        assert delivery.status.state == "delivering"


async def test_a_wish_to_be_left_alone_is_kept(tmp_path: Path) -> None:
    receiver = Receiver()
    receiver.answer = refusing("x/0", Rejected("429", retry_after_s=0.3))
    async with opened(tmp_path / "o.db") as outbox, delivering(outbox, receiver) as delivery:
        await outbox.add([event(0, "x")])
        await receiver.until(lambda: delivery.status.state == "waiting")
        receiver.answer = lambda _: None
        await outbox.add([event(n, call) for n in range(1, 3) for call in "xy"])
        await receiver.until(lambda: len(receiver.sends) > 1)
        assert receiver.times[1] - receiver.times[0] >= 0.3
        await receiver.until(lambda: receiver.of("x") == [0, 1, 2] and receiver.of("y") == [1, 2])


@pytest.mark.parametrize("batch", [1, 20])
async def test_one_that_is_away_is_asked_seldom_and_found_again(tmp_path: Path, batch: int) -> None:
    settings = RetrySettings(base_s=0.001, cap_s=0.001, probe_cap_s=0.05)
    receiver = Receiver(batch)

    def away(_: list[str]) -> None:
        raise Unreachable("refused")

    receiver.answer = away
    with capture_logs() as logs:
        async with opened(tmp_path / "o.db") as outbox, delivering(outbox, receiver, settings) as delivery:
            await outbox.add([event(n, f"{call}") for n in range(3) for call in range(100)])
            await receiver.until(lambda: len(receiver.sends) >= 15)
            assert delivery.status.state == "waiting"
            begun, before = asyncio.get_running_loop().time(), len(receiver.sends)
            await receiver.until(lambda: len(receiver.sends) >= before + 4)
            assert asyncio.get_running_loop().time() - begun > 0.05
            assert all(len(one) == 1 for one in receiver.sends[before:]), "one event, to see"
            receiver.answer = lambda _: None
            await receiver.until(lambda: len(receiver.has) == 300)
            assert all(receiver.of(f"{call}") == [0, 1, 2] for call in range(100))
    assert [line["event"] for line in logs] == ["not delivered"], "the other has its minute to come"


async def test_a_sender_that_fails_oddly_is_one_that_failed(tmp_path: Path) -> None:
    receiver = Receiver()
    receiver.answer = refusing("x/0", ZeroDivisionError())
    with capture_logs() as logs:
        async with opened(tmp_path / "o.db") as outbox, delivering(outbox, receiver) as delivery:
            await outbox.add([event(0, "x"), event(0, "y")])
            await receiver.until(lambda: receiver.of("y") == [0] and len(receiver.sends) > 3)
            assert delivery.status.error in ("ZeroDivisionError in the sender", "")
            receiver.answer = lambda _: None
            await receiver.until(lambda: receiver.of("x") == [0])
    assert "sender failed" in [line["event"] for line in logs]


async def test_what_a_person_drops_does_not_go_out(tmp_path: Path) -> None:
    receiver = Receiver()
    receiver.stuck["x"] = asyncio.Event()
    async with opened(tmp_path / "o.db") as outbox, delivering(outbox, receiver, side_by_side=1) as delivery:
        await outbox.add([event(n, call) for n in range(3) for call in "xyz"])
        await receiver.until(lambda: receiver.sends == [["x/0"]])
        assert await delivery.drop() == 9
        receiver.stuck.pop("x").set()
        await outbox.add([event(9, "y")])
        await receiver.until(lambda: receiver.of("y") == [9])
        assert receiver.sends == [["x/0"], ["y/9"]]


async def test_what_was_read_as_a_person_dropped_it_does_not_go_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    receiver, dropped = Receiver(), list[asyncio.Task[object]]()
    async with opened(tmp_path / "o.db") as outbox:
        await outbox.add([event(0, f"call{n}") for n in range(50)])
        read = outbox.waiting

        async def slowly(*given: Any) -> list[Stored]:
            rows = await read(*given)
            if rows and not dropped:
                dropped.append(asyncio.create_task(delivery.drop()))
                await asyncio.sleep(0)
            return rows

        monkeypatch.setattr(outbox, "waiting", slowly)
        async with delivering(outbox, receiver) as delivery:
            await receiver.until(lambda: bool(dropped) and dropped[0].done())
            await outbox.add([event(1, "later")])
            await receiver.until(lambda: bool(receiver.has))
        assert receiver.has == ["later/1"]


async def test_why_a_call_rests_is_told_while_others_go_on(tmp_path: Path) -> None:
    receiver = Receiver()
    bad = {"x/0": Rejected("answered 500"), "y/0": Rejected("answered 500"), "z/0": Unreachable("reset")}

    def answer(got: list[str]) -> None:
        if got[0] in bad:
            raise bad[got[0]]

    receiver.answer = answer
    slow = RetrySettings(base_s=3600)
    with capture_logs() as logs:
        async with opened(tmp_path / "o.db") as outbox, delivering(outbox, receiver, slow) as delivery:
            await outbox.add([event(n, call) for n in range(3) for call in "xyzv"])
            await delivery.settle()
            assert receiver.of("v") == [0, 1, 2]
            status = delivery.status
            assert (status.state, status.resting) == ("delivering", 3)
            assert [(one.reason, one.calls) for one in status.rests] == [("answered 500", 2), ("reset", 1)]
            assert status.rests[0].call in "xy"
            assert status.rests[1].call == "z"
            assert all(1700 < one.retry_in_s <= 3600 for one in status.rests)
            bad.clear()
            delivery.retry()
            await receiver.until(lambda: len(receiver.has) == 12)
            await delivery.settle()
            assert (delivery.status.resting, delivery.status.rests) == (0, ())
    assert [line["event"] for line in logs] == ["not delivered"]


async def test_that_it_delivers_again_is_logged_once_no_call_rests(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bridge.delivery.endpointlog._TELL_S", 0.0)
    receiver = Receiver()
    receiver.answer = refusing("x/0", Rejected("500"))
    slow = RetrySettings(base_s=3600)
    with capture_logs() as logs:
        async with opened(tmp_path / "o.db") as outbox, delivering(outbox, receiver, slow) as delivery:
            await outbox.add([event(0, "x"), event(0, "y")])
            await delivery.settle()
            for n in range(1, 4):
                await outbox.add([event(n, "y")])
                await delivery.settle()
            assert [line["event"] for line in logs] == ["not delivered"]
            receiver.answer = lambda _: None
            delivery.retry()
            await receiver.until(lambda: receiver.of("x") == [0])
            await delivery.settle()
    assert [line["event"] for line in logs] == ["not delivered", "delivered again"]


@pytest.mark.parametrize("batch", [1, 50])
async def test_a_call_of_which_nothing_is_left_rests_no_more(tmp_path: Path, batch: int) -> None:
    """What failed may be too old in the end, or one of those that a full disk costs."""
    receiver = Receiver(batch)
    receiver.answer = refusing("x/0", Rejected("500"))
    settings = RetrySettings(base_s=0.2)
    async with opened(tmp_path / "o.db") as outbox, delivering(outbox, receiver, settings) as delivery:
        await outbox.add([event(0, "x")])
        await receiver.until(lambda: delivery.status.resting == 1)
        await outbox.drop(A)
        await receiver.until(lambda: delivery.status.resting == 0)
    assert receiver.sends == [["x/0"]]


class Flapping(Receiver):
    """Has what it got and says no, has not and says nothing, hangs, is away for a while: by chance."""

    def __init__(self, batch: int, seed: int) -> None:
        super().__init__(batch)
        self.chance = random.Random(seed)
        self.away = 0

    async def send(self, events: Sequence[Stored]) -> None:
        await asyncio.sleep(self.chance.choice([0, 0, 0.001]))
        self.away = self.away - 1 if self.away else self.chance.choice([0] * 30 + [12])
        fate = self.chance.random()
        if self.away or fate < 0.1:
            raise Unreachable("away")
        if fate < 0.2:
            self.has += [one.id for one in events]
            raise Unreachable("the answer was lost")
        if fate < 0.25:
            raise Rejected("503", retry_after_s=0.002)
        if fate < 0.3:
            raise Rejected("500")
        await super().send(events)


@pytest.mark.parametrize("batch", [1, 20])
@pytest.mark.parametrize("seed", range(scaled(30, 3)))
async def test_through_all_that_and_restarts_each_call_is_whole_and_in_order(
    tmp_path: Path, batch: int, seed: int
) -> None:
    receiver = Flapping(batch, seed)
    calls, each = 20, 15

    async def speak(outbox: Outbox, first: int, last: int) -> None:
        for n in range(first, last):
            await outbox.add([event(n, f"{call}") for call in range(calls)])
            await asyncio.sleep(receiver.chance.random() / 100)

    for life in range(3):
        async with opened(tmp_path / "o.db") as outbox, delivering(outbox, receiver):
            await speak(outbox, life * 5, life * 5 + 5)
            if life == 2:
                await emptied(outbox)
    for call in range(calls):
        assert receiver.of(f"{call}") == list(range(each))
