"""bridge/wire/rules.py: patterns mean what Asterisk's mean, the first rule that matches wins, and why."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.wire.rules import (
    CallRule,
    Choice,
    Condition,
    Direction,
    Facts,
    PatternError,
    choose,
    compiled,
    explain,
)


@pytest.mark.parametrize(
    ("pattern", "matches", "not_so"),
    [
        ("100", ["100"], ["1000", "10", ""]),
        ("1*", ["1", "100"], ["2", ""]),
        ("1?0", ["100", "1x0"], ["10", "1000"]),
        ("a.b", ["a.b"], ["axb"]),
        ("_1XX", ["100", "199"], ["1000", "1a0", "200"]),
        ("_ZX", ["10"], ["01"]),
        ("_nxx", ["200"], ["100"]),
        ("_[13-5]0", ["10", "30", "40", "50"], ["20", "60", "-0"]),
        ("_010-XXXX-XXXX", ["01012345678"], ["010-1234-5678", "0101234567"]),
        ("_9.", ["91", "9abc"], ["9", "8"]),
        ("_9!", ["9", "91"], ["8"]),
        ("_+82X.", ["+8210"], ["8210"]),
        ("영업*", ["영업부"], ["업"]),
    ],
)
def test_a_pattern_matches_whole_texts(pattern: str, matches: list[str], not_so: list[str]) -> None:
    assert all(compiled(pattern).fullmatch(text) for text in matches)
    assert not any(compiled(pattern).fullmatch(text) for text in not_so)


@pytest.mark.parametrize("pattern", ["_", "_1[", "_1[]", "_1.2", "_!1", "_[9-1]"])
def test_a_pattern_without_a_meaning_is_refused_and_not_repeated(pattern: str) -> None:
    with pytest.raises(PatternError) as raised:
        compiled(pattern)
    assert pattern not in str(raised.value)


@given(st.text())
def test_any_pattern_is_one_or_none_and_a_text_without_signs_is_itself(text: str) -> None:
    try:
        pattern = compiled(text)
    except PatternError:
        assert text.startswith("_")
        return
    if not re.search(r"[*?]|^_", text):
        assert pattern.fullmatch(text)


IN = Facts("from-trunk", "15881234", caller="01012345678", channel="PJSIP/trunk-1", direction=Direction.IN)


def rule(name: str, *, tap: bool = True, sample: float = 100, **tests: str) -> CallRule:
    made = tuple(Condition(key.replace("__", "."), (pattern,)) for key, pattern in tests.items())
    return CallRule(name, made, tap, sample)


def test_the_first_rule_that_matches_wins() -> None:
    rules = [rule("vip", caller="_011."), rule("line", did="1588*"), rule("all")]
    assert choose(rules, IN, "1.1") == Choice("line", tap=True)
    assert choose(rules, Facts("internal", "100"), "1.1") == Choice("all", tap=True)
    assert choose(rules[:2], Facts("internal", "100"), "1.1") is None


def test_all_conditions_must_hold_and_what_is_not_known_does_not() -> None:
    both = [rule("both", context="from-*", queue="sales")]
    assert choose(both, IN, "1.1") is None
    assert choose(both, Facts("from-trunk", queue="sales"), "1.1") == Choice("both", tap=True)
    assert choose([rule("any queue", queue="*")], IN, "1.1") is None


def test_a_did_is_what_was_dialled_from_outside() -> None:
    assert choose([rule("line", did="100")], Facts("a", "100", direction=Direction.INTERNAL), "1.1") is None
    assert choose([rule("line", extension="100")], Facts("a", "100"), "1.1") == Choice("line", tap=True)


def test_variables_and_direction_are_conditions_too() -> None:
    facts = Facts(direction=Direction.OUT, variables={"TENANT": "acme"})
    assert choose([rule("a", direction="out", variables__TENANT="ac*")], facts, "1.1") is not None
    assert choose([rule("a", variables__OTHER="*")], facts, "1.1") is None


def test_a_rule_may_forbid_and_stands_before_those_that_allow() -> None:
    rules = [rule("never", tap=False, extension="_9."), rule("all")]
    choice = choose(rules, Facts(extension="911"), "1.1")
    assert choice == Choice("never", tap=False, reason="its tap is false")


@given(st.integers(0, 100), st.integers(0, 100))
def test_a_sample_is_the_same_for_whoever_asks_and_grows_with_its_share(one: int, other: int) -> None:
    def sampled(percent: int) -> set[str]:
        calls = (f"171000{n}.{n}" for n in range(100))
        rules = [rule("some", sample=percent)]
        return {call for call in calls if choose(rules, IN, call) == Choice("some", tap=True)}

    less, more = sorted((one, other))
    assert sampled(less) <= sampled(more)
    assert (len(sampled(0)), len(sampled(100))) == (0, 100)


def test_a_sample_of_a_third_is_a_third() -> None:
    rules = [rule("some", sample=33)]
    hits = sum(choose(rules, IN, f"1{n}.{n}") == Choice("some", tap=True) for n in range(3000))
    assert 900 < hits < 1080


def test_each_rule_says_why() -> None:
    rules = [rule("sales", queue="sales", context="from-*"), rule("inbound", direction="in"), rule("all")]
    lines = [(line.rule, line.hit, line.why) for line in explain(rules, IN, "1.1")]
    assert lines == [
        ("sales", False, "queue is not known, and should be sales"),
        ("inbound", True, "every condition holds"),
        ("all", None, "not asked: inbound matched before"),
    ]
    (line,) = explain([rule("none", sample=0)], IN, "1.1")
    assert (line.hit, line.why) == (True, "the call is not among the 0 % of its sample")
