"""bridge/page/shown.py: what changed and nothing else, without whole numbers and what is hidden."""

import json
from dataclasses import replace
from typing import Any

from bridge.events import call_started
from bridge.page.shown import Pulse, Sayings, latest, said, without_text
from tests.page import fake


def test_a_partial_that_is_replaced_is_not_sent() -> None:
    one, other = fake.leg("1", "caller", ""), fake.leg("1", "callee", "")
    events = [
        fake.said(one, "하", 1000, final=False),
        fake.said(other, "네", 1100, final=False),
        fake.said(one, "하나", 1000, final=False),
        fake.said(one, "하나.", 1000),
        fake.said(one, "둘", 2000, final=False),
        replace(late := fake.said(one, "그 전", 10), data={**late.data, "late": True}),
    ]
    assert [event.data["text"] for event in latest(events)] == ["네", "하나.", "둘", "그 전"]


def test_what_is_said_is_written_once_for_all_pages() -> None:
    sayings, event = Sayings(most=2), fake.said(fake.leg("1", "caller", ""), "하나", 1000)
    assert sayings.of(event) is sayings.of(event)
    others = [fake.said(fake.leg("1", "caller", ""), text, 1000) for text in ("둘", "셋", "넷")]
    assert [json.loads(sayings.of(one) or "")["text"] for one in (*others, event)] == [
        "둘",
        "셋",
        "넷",
        "하나",
    ]


class Clock:
    now = 0.0

    def __call__(self) -> float:
        self.now += 1.0
        return self.now


def told(text: str) -> tuple[list[str], list[str]]:
    """Which calls live, and which are told of."""
    state: dict[str, Any] = json.loads(text)
    return state["live"], [call["id"] for call in state["calls"]]


class TestSaid:
    def test_a_page_gets_no_number_of_a_person(self) -> None:
        event = fake.said(fake.busy_call()["legs"][0], "네.", 1000)
        text = said(event)
        assert text is not None
        assert "01012345678" not in text
        line = json.loads(text)
        assert (line["text"], line["start_ms"], line["final"], line["late"]) == ("네.", 1000, True, False)

    def test_one_that_comes_late_says_so(self) -> None:
        event = fake.said(fake.busy_call()["legs"][0], "네.", 1000)
        text = said(replace(event, data={**event.data, "late": True}))
        assert text is not None
        assert json.loads(text)["late"] is True

    def test_what_is_no_transcript_is_not_for_it(self) -> None:
        assert said(call_started(fake.said(fake.leg("c", "caller", ""), "", 0).subject, 0)) is None

    def test_a_message_is_one_line(self) -> None:
        text = said(fake.said(fake.leg("c", "caller", ""), "한 줄\n두 줄\r\u2028", 0))
        assert text is not None
        assert "\n" not in text
        assert "\r" not in text


class TestHidden:
    def test_a_call_without_text_has_all_but_the_text(self) -> None:
        call = fake.busy_call()
        call["legs"][0]["partial"] = "아직"
        hidden = without_text(call)
        text = json.dumps(hidden, ensure_ascii=False)
        assert not any(words in text for _, words in fake._SAID)
        assert "아직" not in text
        assert hidden["legs"][0]["number"] == "***5678"
        assert len(hidden["timeline"]) == len(call["timeline"])
        assert call["legs"][0]["partial"] == "아직"

    async def test_it_is_those_of_the_rules_that_are_named(self) -> None:
        book = fake.Book(fake.busy_call())
        pulse = Pulse(book, frozenset({"상담 대기열"}), clock=Clock())
        assert "배송" not in (await pulse.since(0))[1]
        assert "배송" not in json.dumps(pulse.shown(fake.busy_call()), ensure_ascii=False)
        assert "배송" in json.dumps(Pulse(book, clock=Clock()).shown(fake.busy_call()), ensure_ascii=False)


class TestPulse:
    async def test_what_did_not_change_is_not_told_again(self) -> None:
        busy = fake.busy_call()
        book = fake.Book(busy, *fake.more_calls())
        pulse = Pulse(book, clock=Clock())
        version, text = await pulse.since(0)
        live, changed = told(text)
        assert live == changed == list(book.told)
        version, text = await pulse.since(version)
        assert told(text) == (live, [])
        busy["age_ms"] += 1000
        version, text = await pulse.since(version)
        assert told(text) == (live, [busy["id"]])
        assert told((await pulse.since(0))[1]) == (live, live)

    async def test_many_pages_cost_what_one_does(self) -> None:
        asked = []

        class Counted(fake.Book):
            def calls(self) -> list[dict[str, Any]]:
                asked.append(1)
                return super().calls()

        pulse = Pulse(Counted(fake.busy_call()), clock=lambda: 5.0)
        first = await pulse.since(0)
        assert [await pulse.since(0) for _ in range(10)] == [first] * 10
        assert len(asked) == 1

    async def test_the_end_of_a_call_is_told_and_then_no_more_is_written_of_it(self) -> None:
        book = fake.Book(fake.busy_call())
        (name,) = book.told
        pulse = Pulse(book, clock=Clock())
        version, _ = await pulse.since(0)
        book.end(name)
        version, text = await pulse.since(version)
        assert told(text) == ([], [name])
        book.told[name]["cost"] = {"won": 30.0}
        version, text = await pulse.since(version)
        assert told(text) == ([], [name])
        for _ in range(20):
            version, text = await pulse.since(version)
        book.told[name]["cost"] = {"won": 31.0}
        assert told((await pulse.since(version))[1]) == ([], [])

    async def test_a_call_that_left_the_book_is_forgotten(self) -> None:
        book = fake.Book(fake.busy_call())
        pulse = Pulse(book, clock=Clock())
        await pulse.since(0)
        book.told.clear()
        assert told((await pulse.since(0))[1]) == ([], [])
