"""Which rule chooses a call, and why: the first that matches what is known of it.

Patterns and facts go in, a decision or an explanation comes out. What a rule sets is the configuration's; it
has a name only here. Facts become known one by one while a call lives, and whoever knows more asks again.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import lru_cache
from hashlib import blake2b

from bridge.types import CallId

_CLASSES = {"X": "[0-9]", "Z": "[1-9]", "N": "[2-9]"}
"""Asterisk's letters for digits (`_NXXXXXX`); they may be small as well."""


class PatternError(ValueError):
    """A pattern that means nothing; the text says why, without the pattern."""


class Direction(StrEnum):
    IN = "in"
    OUT = "out"
    INTERNAL = "internal"


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of a call so far; what is empty is not known, or the call has none."""

    context: str = ""
    """Where the dialplan took the call up."""
    extension: str = field(default="", repr=False)
    """What was dialled there."""
    queue: str = ""
    caller: str = field(default="", repr=False)
    """The caller's number."""
    channel: str = ""
    """The caller's channel by name, such as PJSIP/trunk-0000002a or sofia/external/0212345678@kt."""
    direction: Direction | None = None
    variables: Mapping[str, str] = field(default_factory=dict, repr=False)

    def of(self, key: str) -> str:
        """The fact that a test named `key` looks at."""
        if key.startswith("variables."):
            return self.variables.get(key.removeprefix("variables."), "")
        if key == "did":
            return self.extension if self.direction is Direction.IN else ""
        return str(getattr(self, key) or "")


KEYS = ("context", "extension", "did", "queue", "caller", "channel", "direction")
"""What can be tested, besides `variables.NAME`."""


@lru_cache(maxsize=4096)
def compiled(pattern: str) -> re.Pattern[str]:
    """A pattern as an administrator writes it: Asterisk's own when it begins with `_` (X Z N [1-5] . !), else
    a plain text, in which `*` is anything and `?` one character. Raises PatternError."""
    if not pattern.startswith("_"):
        return re.compile(
            "".join({"*": ".*", "?": "."}.get(one, re.escape(one)) for one in pattern), re.DOTALL
        )
    return re.compile("".join(_dialplan(pattern[1:])))


def _dialplan(pattern: str) -> Iterator[str]:
    if not pattern:
        raise PatternError("is nothing but an underscore; give what follows it")
    at = 0
    while at < len(pattern):
        one = pattern[at]
        if one == "[":
            end = pattern.find("]", at)
            if end <= at + 1:
                raise PatternError("has a [ that is not closed, or nothing in it; give a set such as [1-5]")
            yield _set(pattern[at + 1 : end])
            at = end
        elif one in ".!":
            if at != len(pattern) - 1:
                raise PatternError(f"has a {one} that is not at its end, where alone it may stand")
            yield ".+" if one == "." else ".*"
        elif one != "-":  # only for the eye
            yield _CLASSES.get(one.upper(), re.escape(one))
        at += 1


def _set(inside: str) -> str:
    """Characters and ranges; what else a regular expression would read there is itself."""
    escaped = re.escape(inside).replace(r"\-", "-")
    try:
        re.compile(f"[{escaped}]")
    except re.error:
        raise PatternError("has a range that runs backwards; turn it round") from None
    return f"[{escaped}]"


def matches(patterns: Sequence[str], text: str) -> bool:
    """Whether one of the patterns is of the whole text."""
    return any(compiled(pattern).fullmatch(text) for pattern in patterns)


@dataclass(frozen=True, slots=True)
class Condition:
    """One key, and the patterns of which any will do."""

    key: str
    patterns: tuple[str, ...]

    def holds(self, facts: Facts) -> bool:
        value = facts.of(self.key)
        return bool(value) and matches(self.patterns, value)

    def why_not(self, facts: Facts) -> str:
        """For a person, when it does not hold."""
        wanted = " or ".join(self.patterns)
        value = facts.of(self.key)
        if not value:
            return f"{self.key} is not known, and should be {wanted}"
        return f"{self.key} is {value}, and should be {wanted}"


@dataclass(frozen=True, slots=True)
class CallRule:
    """`tap`: whether its calls are transcribed. `sample`: how many of a hundred of them are."""

    name: str
    conditions: tuple[Condition, ...] = ()
    tap: bool = True
    sample: float = 100.0

    def matches(self, facts: Facts) -> bool:
        return all(one.holds(facts) for one in self.conditions)


@dataclass(frozen=True, slots=True)
class Choice:
    """What the first rule that matches says; it stands for the call's life."""

    rule: str
    tap: bool
    reason: str = ""
    """Why not, for a person."""


def choose(rules: Sequence[CallRule], facts: Facts, call: CallId) -> Choice | None:
    """The choice for this call, or None while no rule matches."""
    for rule in rules:
        if rule.matches(facts):
            return _choice(rule, call)
    return None


def _choice(rule: CallRule, call: CallId) -> Choice:
    if not rule.tap:
        return Choice(rule.name, tap=False, reason="its tap is false")
    if not _sampled(call, rule.sample):
        return Choice(
            rule.name, tap=False, reason=f"the call is not among the {rule.sample:g} % of its sample"
        )
    return Choice(rule.name, tap=True)


def _sampled(call: CallId, percent: float) -> bool:
    """By the call alone, so that whoever asks again, or after a restart, hears the same."""
    place = int.from_bytes(blake2b(call.encode(), digest_size=8).digest()) / (1 << 64)
    return place * 100 < percent


@dataclass(frozen=True, slots=True)
class Line:
    """What `explain` says of one rule; `hit` None: it was not asked, for an earlier one had matched."""

    rule: str
    hit: bool | None
    why: str


def explain(rules: Sequence[CallRule], facts: Facts, call: CallId) -> list[Line]:
    """A line for each rule, in order."""
    lines: list[Line] = []
    hit = ""
    for rule in rules:
        if hit:
            lines.append(Line(rule.name, None, f"not asked: {hit} matched before"))
        elif rule.matches(facts):
            hit, choice = rule.name, _choice(rule, call)
            lines.append(Line(rule.name, True, choice.reason or "every condition holds"))
        else:
            missing = [one.why_not(facts) for one in rule.conditions if not one.holds(facts)]
            lines.append(Line(rule.name, False, "; ".join(missing)))
    return lines
