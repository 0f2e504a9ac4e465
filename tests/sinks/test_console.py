"""bridge/sinks/console.py: what a person sees, on a terminal and in a file."""

import io
import re
from typing import Any

import pytest
from rich.console import Console
from structlog.testing import capture_logs

from bridge.sinks import console as module
from bridge.sinks.console import ConsoleSink, LogLines, call_time, terminal
from bridge.types import Event

SENTENCE = "안녕하세요 고객님 무엇을 도와드릴까요"


def event(kind: str, call: str = "c1", role: str = "caller", **data: Any) -> Event:
    data = {"leg": f"{call}/{role}", "party": {"role": role}, **data}
    return Event("id", f"rtzr.{kind}", call, "now", data)


def said(kind: str, text: str, start_ms: int = 0, **more: Any) -> Event:
    return event(f"transcript.{kind}", text=text, start_ms=start_ms, **more)


async def shown(*events: Event, terminal_of: int = 0, partials: bool = True) -> str:
    """What the events print: to a terminal of that many columns, or to a file."""
    out = io.StringIO()
    console = Console(file=out, force_terminal=bool(terminal_of), width=terminal_of or 80)
    sink = ConsoleSink(console=console, partials=partials)
    for one in events:
        sink.deliver(one)
    sink.close()
    await sink.run()
    assert sink.delivered == len(events)
    return out.getvalue()


def plain(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)


async def test_a_file_gets_finals_only_one_plain_line_each() -> None:
    long = " ".join([SENTENCE] * 4)
    out = await shown(
        said("partial", "안녕"), said("final", SENTENCE, 83_250), said("final", long, role="callee")
    )
    assert out == f"01:23.2  caller  {SENTENCE}\n00:00.0  callee  {long}\n"


async def test_a_terminal_gets_colours_and_partials_that_are_taken_back() -> None:
    out = await shown(said("partial", "안녕"), said("final", SENTENCE), terminal_of=80)
    assert "\x1b[1;36mcaller" in out
    assert plain(out).count(SENTENCE) == 1


async def test_partials_can_be_left_out() -> None:
    assert "안녕 …" not in plain(await shown(said("partial", "안녕"), terminal_of=80, partials=False))


async def test_a_partial_goes_with_its_leg() -> None:
    sink = ConsoleSink(console=Console(file=io.StringIO(), force_terminal=True, width=80))
    sink.write([said("partial", "안녕")])
    assert len(sink._saying) == 1
    sink.write([event("leg.ended")])
    assert sink._saying == {}


async def test_text_that_is_too_long_goes_on_under_the_text() -> None:
    lines = plain(await shown(said("final", SENTENCE), terminal_of=40)).splitlines()
    assert [line.rstrip() for line in lines if line.strip()] == [
        "00:00.0  caller  안녕하세요 고객님",
        "                 무엇을 도와드릴까요",
    ]


async def test_calls_are_told_apart_while_there_are_several() -> None:
    out = await shown(
        event("call.started", "a"),
        said("final", "일", call="a"),
        event("call.started", "b"),
        said("final", "이", call="b"),
        said("final", "삼", call="a"),
        event("call.ended", "a"),
        said("final", "사", call="b"),
        event("call.ended", "b"),
        event("call.started", "c"),
        said("final", "오", call="c"),
    )
    assert out.splitlines() == [
        "00:00.0  caller  일",
        "#2 is call b",
        "#2  00:00.0  caller  이",
        "#1 is call a",
        "#1  00:00.0  caller  삼",
        "#2  00:00.0  caller  사",
        "00:00.0  caller  오",
    ]


@pytest.mark.parametrize("text", ["\x1b[2J위험", "a\rb", "[red]괄호[/red]", ":smile:", "1\n2"])
async def test_a_text_cannot_do_anything_to_the_terminal(text: str) -> None:
    clean = "".join(c if c.isprintable() else " " for c in text)
    out = io.StringIO()
    sink = ConsoleSink(console=module._Terminal(file=out, markup=False, emoji=False, highlight=False))
    sink.write([said("final", text)])
    assert out.getvalue() == f"00:00.0  caller  {clean}\n"


def test_log_lines_stand_above_what_changes_in_place() -> None:
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=80)
    sink = ConsoleSink(console=console)
    log = LogLines(console)
    with sink._live:
        sink.write([said("partial", "안녕")])
        out.truncate(0)
        log.write("socket opened")
        assert out.getvalue() == ""
        log.write(" ms=3\n")
        assert plain(out.getvalue()).index("socket opened ms=3") < plain(out.getvalue()).index("안녕 …")


def test_log_lines_with_a_style_want_no_colours_of_the_writers() -> None:
    console = Console(file=io.StringIO())
    assert LogLines(console).isatty()
    assert not LogLines(console, "dim").isatty()


class Closed(io.StringIO):
    """Standard output whose reader has gone."""

    def write(self, text: str, /) -> int:
        raise BrokenPipeError(32, "Broken pipe")


async def test_a_reader_that_went_away_ends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdout", Closed())
    sink = ConsoleSink(console=terminal())
    sink.deliver(said("final", SENTENCE))
    sink.close()
    with capture_logs() as logs:
        await sink.run()
    assert sink.failed == 1
    assert [line["reason"] for line in logs] == ["Broken pipe"]


@pytest.mark.parametrize(
    ("ms", "text"), [(0, "00:00.0"), (83_250, "01:23.2"), (-5, "00:00.0"), (6e6, "100:00.0")]
)
def test_call_time(ms: int, text: str) -> None:
    assert call_time(int(ms)) == text


def of(role: str, number: str, kind: str, **data: Any) -> Event:
    return event(kind, role=role, leg=f"c1/{number}", party={"role": role, "number": number}, **data)


async def test_two_of_a_role_are_told_apart_by_their_numbers() -> None:
    out = await shown(
        of("callee", "1002", "leg.started"),
        of("callee", "1002", "transcript.final", text="하나", start_ms=0),
        of("callee", "1003", "leg.started"),
        of("callee", "1003", "transcript.final", text="둘", start_ms=1000),
        of("caller", "021", "leg.started"),
        of("caller", "021", "transcript.final", text="셋", start_ms=2000),
    )
    assert out == "00:00.0  callee  하나\n00:01.0  callee 1003  둘\n00:02.0  caller  셋\n"


async def test_calls_that_meet_say_so() -> None:
    out = await shown(
        event("call.started", "a"),
        event("call.started", "b"),
        said("final", "하나", call="a"),
        said("final", "둘", call="b"),
        event("call.merged", "b", into="a"),
    )
    assert out.splitlines()[-1] == "#2 has come to #1"
