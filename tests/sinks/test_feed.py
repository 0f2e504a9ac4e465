"""bridge/sinks/feed.py: who reads gets what it asked for in order, who comes back what it missed, and nobody
is waited for."""

import asyncio
import json
from collections.abc import AsyncGenerator, Callable, Collection, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from bridge.outbox.outbox import Outbox, OutboxSettings
from bridge.outbox.stored import Page, Stored
from bridge.sinks.feed import MISSED, FeedSink, Full, Item, Reader, Wanted
from bridge.types import Event

ALL = Wanted()
LATE = ((1, "old", "sales"), (2, "old", "other"), (3, "old", ""), (4, "live", "other"))
"""Number, call and rule."""


def final(number: int, call: str = "c", who: str = "caller", phone: str = "1001") -> Event:
    data = {"leg": f"{call}/x", "party": {"role": who, "number": phone}, "text": "여보세요"}
    return Event(f"{call}/x/{number}", "rtzr.transcript.final", call, "2026-01-01T00:00:00Z", data)


def partial(number: int, call: str = "c") -> Event:
    event = final(number, call)
    return Event(event.id, "rtzr.transcript.partial", call, event.time, event.data)


def started(call: str, rule: str = "") -> Event:
    return Event(f"{call}/started", "rtzr.call.started", call, "", {"at_ms": 0, "rule": rule})


def ended(call: str) -> Event:
    return Event(f"{call}/ended", "rtzr.call.ended", call, "", {"at_ms": 9})


class Book:
    """An outbox of these events."""

    def __init__(self, events: Sequence[Event]) -> None:
        self.stored = [
            Stored(seq, event.id, event.subject, event.type, json.dumps(event.as_json()).encode())
            for seq, event in enumerate(events)
            if event.type != "rtzr.transcript.partial"
        ]
        self.ruled = {
            event.subject: event.data["rule"] for event in events if event.type == "rtzr.call.started"
        }

    async def since(self, event_id: str, most: int, concerns: Callable[[str], bool]) -> Page | None:
        ids = [one.id for one in self.stored]
        if event_id not in ids:
            return None
        return Page(self.stored[ids.index(event_id) + 1 :][: min(most, 3)], gap=False)

    def on_blank(self, told: Callable[[Collection[str]], None]) -> None:
        pass

    async def rules(self, calls: Collection[str]) -> dict[str, str]:
        return {call: rule for call, rule in self.ruled.items() if call in calls}


async def rest(items: AsyncGenerator[Item], reader: Reader) -> list[str]:
    """The ids of what can be had without anybody saying more."""
    reader.end()
    return ["missed" if item.event.type == MISSED else item.event.id async for item in items]


async def had(sink: FeedSink, wanted: Wanted = ALL, after: str = "") -> list[str]:
    with sink.reading(wanted, after) as reader:
        return await rest(sink.follow(reader), reader)


def ids(events: Sequence[Event]) -> list[str]:
    return [event.id for event in events]


async def test_a_late_text_that_says_its_rule_is_of_that_rule() -> None:
    sink = FeedSink()
    with sink.reading(Wanted(rules=frozenset({"sales"}))) as reader:
        items = sink.follow(reader)
        late = [replace(final(number, call), rule=rule) for number, call, rule in LATE]
        await sink.put([started("live", "sales"), *late])
        assert await rest(items, reader) == ["live/started", "old/x/1"]


async def test_a_reader_gets_what_is_said_from_now_on_with_partials() -> None:
    sink = FeedSink()
    await sink.put([final(1)])
    with sink.reading(ALL) as reader:
        items = sink.follow(reader)
        assert await heard(items, sink, [partial(2), final(3)]) == ["c/x/2", "c/x/3"]


async def heard(items: AsyncGenerator[Item], sink: FeedSink, events: Sequence[Event]) -> list[str]:
    """What a reader that is there already gets of `events`."""
    first = asyncio.ensure_future(anext(items))
    await asyncio.sleep(0)
    await sink.put(events)
    found = [(await first).event.id]
    return found + [(await anext(items)).event.id for _ in events[1:]]


@pytest.mark.parametrize(
    ("wanted", "numbers"),
    [
        (ALL, [1, 2, 3]),
        (Wanted(calls=frozenset({"b", "z"})), [2]),
        (Wanted(rules=frozenset({"sales"})), [1]),
        (Wanted(rules=frozenset({""})), [2, 3]),
        (Wanted(parties=frozenset({"callee"})), [2]),
        (Wanted(parties=frozenset({"1003"})), [3]),
        (Wanted(calls=frozenset({"a"}), parties=frozenset({"callee"})), []),
    ],
)
async def test_of_each_kind_that_was_asked_for_one_fits(wanted: Wanted, numbers: list[int]) -> None:
    sink = FeedSink()
    await sink.put([started("a", "sales"), started("b"), final(0, "b")])
    said = [final(1, "a"), final(2, "b", "callee"), final(3, "d", "caller", "1003")]
    await sink.put(said)
    known = {event.id: int(event.id.rpartition("/")[2]) for event in said}
    assert [known[one] for one in await had(sink, wanted, after="b/x/0")] == numbers


async def test_a_call_that_is_over_is_still_known_by_its_rule() -> None:
    sink = FeedSink()
    await sink.put([started("a", "sales"), ended("a"), final(1, "a")])
    assert await had(sink, Wanted(rules=frozenset({"sales"})), "a/started") == ["a/ended", "a/x/1"]


async def test_who_comes_back_goes_on_after_its_last_event_even_a_partial() -> None:
    sink = FeedSink()
    await sink.put([final(1), partial(2), final(3), partial(4), final(5)])
    assert await had(sink, after="c/x/1") == ["c/x/3", "c/x/5"]
    assert await had(sink, after="c/x/4") == ["c/x/5"]
    assert await had(sink, after="c/x/5") == []


async def test_what_memory_does_not_have_comes_from_the_outbox_and_nothing_twice() -> None:
    said = [final(number) for number in range(20)]
    sink = FeedSink(Book(said), kept=5)
    await sink.put(said)
    assert await had(sink, after="c/x/4") == ids(said[5:])
    assert await had(sink, after="c/x/17") == ids(said[18:])


async def test_after_a_restart_all_comes_from_the_outbox_and_then_what_is_new() -> None:
    before, later = [final(number) for number in range(10)], [final(number) for number in range(10, 13)]
    book = Book(before)
    sink = FeedSink(book)
    assert await had(sink, after="c/x/3") == ids(before[4:])
    assert await had(sink, after="c/x/9") == []  # nothing was missed, and nothing is told
    await sink.put(later)  # and the outbox has not committed it yet
    assert await had(sink, after="c/x/3") == ids(before[4:] + later)


async def test_calls_that_are_not_for_the_feed_do_not_come_from_the_outbox_either() -> None:
    secret = [started("s", "boss"), final(1, "s"), final(2, "s"), final(3, "s"), ended("s")]
    said = [started("a", "sales"), final(1, "a"), *secret, final(2, "a"), final(4, "s")]
    sink = FeedSink(Book(said), hidden=frozenset({"boss"}))
    await sink.put([said[0], said[1], final(2, "a")])
    assert await had(sink, after="a/started") == ["a/x/1", "a/x/2"]
    fresh = FeedSink(Book(said), hidden=frozenset({"boss"}))
    assert await had(fresh, after="a/started") == ["a/x/1", "a/x/2"]


async def test_what_may_be_for_other_eyes_is_not_shown_and_that_is_told() -> None:
    said = [final(1, "a"), final(2, "a"), ended("a"), started("b", "sales"), final(1, "b")]
    book = Book(said)
    for sink, wanted in (
        (FeedSink(book, hidden=frozenset({"boss"})), ALL),
        (FeedSink(book), Wanted(rules=frozenset({"sales"}))),
    ):
        assert await had(sink, wanted, after="a/x/1") == ["b/started", "b/x/1", "missed"]
    assert await had(FeedSink(book), after="a/x/1") == ids(said[1:])


async def test_what_the_past_does_not_keep_is_told_as_missing() -> None:
    book = Book([started("b", "sales"), final(1, "b"), final(2, "b")])
    sink = FeedSink(book, forgotten=frozenset({"boss"}))
    assert await had(sink, after="b/x/1") == ["b/x/2", "missed"]
    assert await had(sink, after="b/x/2") == ["missed"]
    assert await had(sink, Wanted(rules=frozenset({"sales"})), after="b/x/1") == ["b/x/2"]


@pytest.mark.parametrize("book", [None, Book([final(90)])])
async def test_what_nobody_knows_any_more_is_told(book: Book | None) -> None:
    sink = FeedSink(book)
    await sink.put([final(1), final(2)])
    assert await had(sink, after="long/ago") == ["missed", "c/x/1", "c/x/2"]


class Torn(Book):
    """One that cannot be read any more after the first page: its disk is gone, or what was read last is."""

    async def since(self, event_id: str, most: int, concerns: Callable[[str], bool]) -> Page | None:
        return await super().since(event_id, most, concerns) if event_id == self.stored[0].id else None


async def test_an_outbox_that_fails_in_between_is_told() -> None:
    said = [final(number) for number in range(10)]
    assert await had(FeedSink(Torn(said)), after="c/x/0") == [*ids(said[1:4]), "missed"]


async def test_what_lies_between_an_outbox_that_stands_still_and_memory_is_told() -> None:
    said = [final(number) for number in range(20)]
    sink = FeedSink(Book(said[:10]), kept=5)
    await sink.put(said)  # the outbox did not take the last ten, memory kept the last five
    assert await had(sink, after="c/x/7") == ["c/x/8", "c/x/9", "missed", *ids(said[15:])]


async def test_what_is_said_while_a_reader_is_told_that_it_missed_something_is_not_left_out() -> None:
    said = [final(1, "a"), final(2, "a")]
    sink = FeedSink(Book(said), hidden=frozenset({"boss"}))
    with sink.reading(ALL, "a/x/1") as reader:
        items = sink.follow(reader)
        await sink.put([said[1]])
        assert (await anext(items)).event.type == MISSED  # nobody knows whose call that was
        await sink.put([final(3, "b")])
        assert await rest(items, reader) == ["b/x/3"]


async def test_an_event_that_the_outbox_had_before_memory_comes_once() -> None:
    said = [final(1), final(2)]
    sink = FeedSink(Book(said))
    with sink.reading(ALL, "c/x/1") as reader:
        items = sink.follow(reader)
        assert (await anext(items)).event.id == "c/x/2"
        await sink.put([said[1]])
        assert await rest(items, reader) == []


async def test_there_is_always_an_id_from_which_who_heard_nothing_yet_can_go_on() -> None:
    sink = FeedSink()
    start = sink.position
    await sink.put([partial(1), final(2)])
    assert await had(sink, after=start) == ["c/x/2"]
    assert sink.position == "c/x/2"
    await sink.put([partial(3)])
    assert sink.position == "c/x/2", "of a partial the outbox knows nothing"
    assert await had(FeedSink(), after=start) == ["missed"], "of another daemon"


async def test_what_is_said_while_somebody_catches_up_slowly_is_not_left_out() -> None:
    sink = FeedSink(kept=6, behind=2)
    await sink.put([final(number) for number in range(4)])
    with sink.reading(ALL, "c/x/0") as reader:
        items = sink.follow(reader)
        found = [(await anext(items)).event.id]
        await sink.put([final(number) for number in range(4, 9)])  # more than may wait, but it is not live
        found += await rest(items, reader)
    assert found == [f"c/x/{number}" for number in range(1, 9)]
    assert sink.slow == 0


async def test_memory_that_runs_away_from_who_catches_up_is_told() -> None:
    sink = FeedSink(kept=3)
    await sink.put([final(number) for number in range(3)])
    with sink.reading(ALL, "c/x/0") as reader:
        items = sink.follow(reader)
        found = [(await anext(items)).event.id]
        await sink.put([final(number) for number in range(3, 9)])
        found += await rest(items, reader)
    assert found == ["c/x/1", "c/x/2", "missed", "c/x/6", "c/x/7", "c/x/8"]


async def test_who_is_too_slow_is_dropped_and_counted_and_the_others_are_not() -> None:
    sink = FeedSink(behind=3)
    with sink.reading(ALL) as slow, sink.reading(ALL) as quick:
        items = sink.follow(quick)
        found = await heard(items, sink, [final(1), final(2), final(3)])
        found += await heard(items, sink, [final(4), final(5)])
        assert (slow.too_slow, quick.too_slow, sink.slow) == (True, False, 1)
        await asyncio.wait_for(slow.slow(), 1)
    assert found == [f"c/x/{number}" for number in range(1, 6)]
    assert (sink.readers, sink.delivered) == (0, 0)


async def test_a_burst_makes_nobody_slow_who_reads() -> None:
    sink = FeedSink(behind=150)
    said = [final(number) for number in range(1000)]
    with sink.reading(ALL) as reader:

        async def read() -> list[str]:
            return [item.event.id async for item in sink.follow(reader)]

        reading = asyncio.create_task(read())
        await asyncio.sleep(0)
        await sink.put(said)
        reader.end()
        assert await reading == ids(said)
        assert sink.slow == 0


async def test_what_waits_can_be_had_at_once_and_in_order() -> None:
    sink = FeedSink()
    with sink.reading(ALL) as reader:
        items = sink.follow(reader)
        await sink.put([final(number) for number in range(6)])
        found = [(await anext(items)).event.id, *(item.event.id for item in reader.more(3))]
        found += await rest(items, reader)
        assert found == [f"c/x/{number}" for number in range(6)]
        assert reader.more(3) == []


async def test_what_a_reader_does_not_want_does_not_make_it_slow() -> None:
    sink = FeedSink(behind=1)
    with sink.reading(Wanted(calls=frozenset({"other"}))) as reader:
        await sink.put([final(number) for number in range(9)])
        assert not reader.too_slow


async def test_there_is_an_end_to_the_number_of_readers() -> None:
    sink = FeedSink(most=1)
    with sink.reading(ALL), pytest.raises(Full), sink.reading(ALL):
        pass
    with sink.reading(ALL):
        assert sink.readers == 1


async def test_at_the_end_readers_get_what_waits_and_no_more() -> None:
    sink = FeedSink()
    running = asyncio.create_task(sink.run())
    with sink.reading(ALL) as reader:
        sink.deliver(final(1))
        sink.close()
        await running
        assert [item.event.id async for item in sink.follow(reader)] == ["c/x/1"]
    with sink.reading(ALL) as late:
        assert [item async for item in sink.follow(late)] == []


async def test_an_event_is_written_as_everywhere_and_on_one_line() -> None:
    event = Event("i", "rtzr.transcript.final", "c", "t", {"text": "한\n\ud800"})
    text = Item(event, "").text
    assert json.loads(text) == event.as_json()
    assert "\n" not in text
    assert "한" in text


async def test_an_event_that_is_no_json_is_left_out_of_what_readers_get() -> None:
    sink = FeedSink()
    odd = Event("c/x/2", "rtzr.transcript.final", "c", "t", {"confidence": float("nan")})
    with sink.reading(ALL) as reader:
        await sink.put([final(1), odd, final(3)])
        sink.close()
        await sink.run()
        assert [item.event.id async for item in sink.follow(reader)] == ["c/x/1", "c/x/3"]
    assert sink.failed == 1


async def test_a_real_outbox_is_such_a_past(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path / "outbox.db", OutboxSettings())
    await outbox.open()
    outbox.endpoints({"webhook:crm": None})
    said = [started("a", "sales"), started("b", "boss"), started("c")]
    said += [final(number, call) for number in range(150) for call in "abc"]
    await outbox.add(said)
    hidden = [event for event in said if event.subject == "b"]
    sink = FeedSink(outbox, hidden=frozenset({"boss"}), kept=20)
    await sink.put([event for event in said if event not in hidden])
    try:
        assert await had(sink, after="a/started") == ids([e for e in said[1:] if e not in hidden])
        sales = Wanted(rules=frozenset({"sales"}))
        assert await had(sink, sales, after="a/x/9") == [f"a/x/{number}" for number in range(10, 150)]
        assert (await had(sink, after="z/x/9"))[0] == "missed"
        await outbox.drop("webhook:crm")
        assert "missed" in await had(sink, after="a/started"), "what was dropped is told"
    finally:
        await outbox.close()


async def test_a_gap_in_the_outbox_is_told(tmp_path: Path) -> None:
    said = [started("a", "sales"), final(1, "a"), started("b", "boss"), final(1, "b"), final(2, "a")]
    outbox = Outbox(tmp_path / "outbox.db", OutboxSettings())
    await outbox.open()
    outbox.leave_out(frozenset({"boss"}))
    await outbox.add(said)
    try:
        for after, found in (("a/x/1", ["a/x/2", "missed"]), ("a/x/2", ["missed"])):
            assert await had(FeedSink(outbox), after=after) == found
            assert "missed" not in await had(FeedSink(outbox, hidden=frozenset({"boss"})), after=after)
            assert "missed" not in await had(FeedSink(outbox), Wanted(rules=frozenset({"sales"})), after)
    finally:
        await outbox.close()


async def test_what_a_person_drops_is_in_no_memory_either_and_that_is_told(tmp_path: Path) -> None:
    said = [started("a"), *(final(number, "a") for number in range(4))]
    outbox = Outbox(tmp_path / "outbox.db", OutboxSettings())
    await outbox.open()
    outbox.endpoints({"webhook:crm": None})
    await outbox.add(said[:4])
    sink = FeedSink(outbox)
    await sink.put(said)
    try:
        assert await outbox.drop("webhook:crm") == 4
        assert await had(sink, after="a/x/0") == ["missed", "a/x/3"]
        assert await had(sink, after="a/x/2") == ["a/x/3"]
    finally:
        await outbox.close()
