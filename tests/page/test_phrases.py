"""bridge/page/static/phrases.js: whatever the daemon notes of a call has its words there, in both tongues."""

import ast
import re
from collections.abc import Iterator
from dataclasses import fields
from importlib.resources import files
from pathlib import Path

import bridge
from bridge import readiness
from bridge.leg import inlets
from bridge.leg.conversation import Ending
from bridge.types import GapReason
from bridge.watching.words import _FLAWS
from bridge.wire.causes import _MEANINGS
from bridge.wire.watched import Note
from bridge.wire.wishes import By

STATIC = files("bridge.page").joinpath("static")
PHRASES = STATIC.joinpath("phrases.js").read_text(encoding="utf-8")
WORDS = STATIC.joinpath("words.js").read_text(encoding="utf-8")
_WHAT = [one.name for one in fields(Note)].index("what")
_PLACE = {"note": 0, "_note": 0, "_all": 1, "Note": _WHAT, "_of": 3}
"""Where the phrase stands in a call of what notes it."""


def table(name: str, text: str = PHRASES) -> set[str]:
    """The keys of a table, all of which are quoted or a plain word."""
    (body,) = re.findall(rf"^const {name} = \{{\n(.*?)^\}};", text, re.M | re.S)
    return {
        quoted or plain
        for quoted, plain in re.findall(r'(?:^\s*|, |\{ )(?:"([^"]+)"|(\w+)): ["\[]', body, re.M)
    }


def strings(node: ast.expr) -> Iterator[str]:
    """What an argument may be; of an f-string, its beginning."""
    match node:
        case ast.Constant(value=str(value)):
            yield value
        case ast.IfExp(body=one, orelse=other):
            yield from strings(one)
            yield from strings(other)
        case ast.JoinedStr(values=[ast.Constant(value=str(value)), *_]):
            yield value


def noted() -> set[str]:
    """All phrases in the source that a note is made with."""
    found = set[str]()
    for path in Path(bridge.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call):
                continue
            name = getattr(node.func, "attr", getattr(node.func, "id", ""))
            place = _PLACE.get(name)
            if place is not None and len(node.args) > place and "delivery" not in path.parts:
                found |= {text for text in strings(node.args[place]) if not text.startswith("rtzr.")}
    return found - {""}


def test_what_is_noted_has_its_words() -> None:
    said = noted()
    assert {
        "calls",
        "is called",
        "tap attached",
        "session opened",
        "heard from now on",
        "packets lost",
    } <= said
    starts = {"session "} | table("STARTS")
    assert said - starts - table("WHAT") == set()
    assert {f"session {one.name.lower()}" for one in Ending} <= table("WHAT")
    assert {"paused", "resumed", "rings", "busy"} <= table("WHAT")


def test_no_word_stands_twice_and_hides_another() -> None:
    for text, name in ((WORDS, "WORDS"), (PHRASES, "WHAT")):
        (body,) = re.findall(rf"^const {name} = \{{\n(.*?)^\}};", text, re.M | re.S)
        keys = re.findall(r'^  ("[^"]+"|\w+): \[', body, re.M)
        assert len(keys) > 30
        assert len(keys) == len(set(keys))


def test_causes_fates_reasons_and_who_paused_have_theirs() -> None:
    assert set(By) <= table("BY")
    assert {str(number) for number in _MEANINGS} <= table("CAUSES")
    fates = {fate for one in vars(inlets).values() for fate in getattr(one, "fates", ())}
    assert len(fates) > 20
    assert fates <= table("FATES")
    assert {*GapReason, *_FLAWS} <= table("WORDS", WORDS)


def test_why_the_bridge_is_not_ready_is_told_in_korean_too() -> None:
    tree = ast.parse(Path(readiness.__file__).read_text(encoding="utf-8"))
    said = {
        text
        for node in ast.walk(tree)
        if isinstance(node, ast.Return | ast.Assign) and node.value is not None
        for text in strings(node.value)
        if text
    }
    assert {"the bridge is starting", "RTZR gives no token: ", "RTZR's quota is spent"} <= said
    of_parts = {
        "not there: worker 1",
        "outbox full: the oldest of what waits is dropped",
        "disk full: make room",
    }
    known = tuple(table("UNREADY"))
    assert [one for one in sorted(said | of_parts) if not one.startswith(known)] == []
