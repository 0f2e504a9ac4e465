"""bridge/wire/selection.py: rules are asked whenever more is known, and choose once."""

from bridge.wire.rules import CallRule, Condition
from bridge.wire.selection import Selection
from tests.wire.channels import channel


def rule(name: str, key: str, pattern: str, *, tap: bool = True) -> CallRule:
    return CallRule(name, (Condition(key, (pattern,)),), tap)


def test_without_rules_nothing_is_kept() -> None:
    one = Selection()
    assert one.choice(channel("a"), None) is None
    assert not one.open("a")


def test_a_choice_is_made_once() -> None:
    one = Selection((rule("late", "variables.X", "1"), rule("caller", "caller", "1005")))
    assert one.choice(channel("a"), None) is None
    assert one.open("a")
    choice = one.choice(channel("a", number="1005"), None)
    assert choice is not None
    assert choice.rule == "caller"
    assert not one.set(channel("a"), "X", "1"), "nobody wants to know any more"
    assert one.choice(channel("a"), None) == one.decided("a") == choice


def test_what_is_forbidden_stays_so_until_it_is_gone() -> None:
    one = Selection((rule("never", "caller", "119", tap=False),))
    one.choice(channel("a", number="119"), None)
    assert one.forbids("a")
    assert not one.forbids("b")
    one.drop("a")
    assert not one.forbids("a")
