"""bridge/watching/watch.py: events and notes come into the book in order; readers get theirs."""

import asyncio

import pytest

from bridge.types import Event
from bridge.watching import watch as watches
from bridge.watching.watch import Full, Watch, hidden
from bridge.wire.watched import LegState
from tests.watching.calls import Told


async def followed(watch: Watch, most: int, call: str | None = None) -> list[Event]:
    """The first events of somebody who reads along."""
    found = []
    async for event in watch.follow(None if call is None else watch.book.find(call)):
        found.append(event)
        if len(found) == most:
            break
    return found


async def test_notes_are_taken_in_behind_the_events_that_they_are_about() -> None:
    watch, call = Watch(), Told()
    watch.tell(call.note("calls"))
    await watch.put(call.begins())
    watch.tell(call.note("answered", at_ms=20))
    watch.catch_up()
    (watched,) = watch.book
    assert [note.what for note in watched.notes] == ["heard from now on", "calls", "answered"]


async def test_it_looks_at_the_legs_until_it_is_cancelled() -> None:
    watch, call = Watch(), Told()
    await watch.put(call.begins())
    looking = asyncio.create_task(watch.look(lambda: [call.stands(arrived_ms=40)]))
    await asyncio.sleep(0)
    leg = next(iter(watch.book)).legs[str(call.leg)]
    assert (leg.state, leg.arrived_ms) == (LegState.STREAMING, 40)
    looking.cancel()
    await asyncio.gather(looking, return_exceptions=True)


async def test_who_comes_in_mid_call_is_told_how_it_began_and_no_number() -> None:
    watch, call, other = Watch(), Told(), Told("call-2", number="0212349876")
    await watch.put([*call.begins(), *other.begins(), call.says("네", final=False)])
    all_of_them = asyncio.create_task(followed(watch, 5))
    one = asyncio.create_task(followed(watch, 99, "call-2"))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    await watch.put([call.says("안녕하세요"), other.says("여보세요"), *other.ends()])
    told = await all_of_them
    assert [event.type.removeprefix("rtzr.") for event in told] == [
        "call.started", "leg.started", "call.started", "leg.started", "transcript.final",
    ]  # fmt: skip
    assert told[-1].data["text"] == "안녕하세요"
    assert [event.type.removeprefix("rtzr.") for event in await one] == [
        "call.started", "leg.started", "transcript.final", "leg.ended", "call.ended",
    ]  # fmt: skip
    shown = repr([event.data for event in told])
    assert "***5678" in shown
    assert "01012345678" not in shown


async def test_an_ended_call_is_read_to_its_end_at_once_and_a_closed_watch_too() -> None:
    watch, call = Watch(), Told()
    await watch.put([*call.begins(), *call.ends()])
    assert await followed(watch, 1, "call-1") == []
    reading = asyncio.create_task(followed(watch, 1))
    await asyncio.sleep(0)
    watch.close()
    assert await reading == []
    assert await followed(watch, 1) == []


async def test_slow_and_too_many_readers_cost_nobody_anything(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watches, "_MOST_UNREAD", 3)
    monkeypatch.setattr(watches, "_MOST_READERS", 1)
    watch, call = Watch(), Told()
    await watch.put(call.begins())
    reading = watch.follow()
    first = await anext(reading)
    assert first.type == "rtzr.call.started"
    with pytest.raises(Full):
        await anext(watch.follow())
    await watch.put([call.says(str(number)) for number in range(10)])
    watch.close()
    assert [event.data["text"] async for event in reading] == ["7", "8", "9"]
    assert not watch._readers


async def test_what_comes_too_fast_is_dropped_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watches, "_MOST_NOTES", 2)
    watch, call = Watch(), Told()
    for number in range(5):
        watch.tell(call.note("x", at_ms=number))
    assert watch.notes_dropped == 3


async def test_an_event_that_it_cannot_read_costs_no_other_one() -> None:
    watch, call = Watch(), Told()
    broken = Event("id", "rtzr.call.started", "c", "no time", {})
    await watch.put([broken, *call.begins()])
    assert watch.failed == 1
    assert [one.id for one in watch.book] == ["call-1"]


def test_an_event_of_nobody_is_left_as_it_is() -> None:
    call = Told(number="")
    started = call.begins()[1]
    assert hidden(started) is started


async def test_calls_whose_end_is_never_told_do_not_pile_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bridge.watching.book.MOST_LIVE", 5)
    monkeypatch.setattr("bridge.watching.watch.MOST_LIVE", 5)
    watch = Watch()
    for number in range(20):
        await watch.put(Told(f"call-{number}").begins())
    assert (len(watch.book.live), len(watch._opening)) == (5, 5)
