"""The rules of the YAML: which calls they choose, and what is different for them.

What a rule means is `bridge.wire.rules`' concern; the other sections are in `sections`.
"""

from typing import Annotated, Any, Literal, TypeVar

from pydantic import Field, model_validator

from bridge.config.section import Section
from bridge.config.values import Keywords, Name, Patterns, RuleName, Silence, SinkNames
from bridge.wire.rules import KEYS, CallRule, Condition


def _or_one(schema: dict[str, Any]) -> None:
    """In the schema, too: one of them stands for a list of one."""
    listed = {name: schema.pop(name) for name in ("type", "items")}
    schema["anyOf"] = [listed, listed["items"]]


class Match(Section):
    """What has to be known of a call; all of what is given must hold, and of a list any one."""

    context: Patterns = ()
    """Where the call enters the dialplan."""
    extension: Patterns = ()
    """What is dialled there."""
    did: Patterns = ()
    """The number that was called from outside: the extension of a call that comes in."""
    queue: Patterns = ()
    """The queue that it is in."""
    caller: Patterns = ()
    """The caller's number."""
    channel: Patterns = ()
    """The caller's channel, such as PJSIP/trunk-*."""
    direction: Annotated[
        tuple[Literal["in", "out", "internal"], ...],
        Field(strict=False, json_schema_extra=_or_one),
    ] = ()
    """Whether it comes in, goes out, or neither."""
    variables: dict[Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_.-]{0,63}$")], Patterns] = Field(
        default_factory=dict
    )
    """Variables of the caller's channel, each with what it has to be."""

    @model_validator(mode="before")
    @classmethod
    def _one_direction(cls, value: Any) -> Any:
        if isinstance(value, dict) and isinstance(value.get("direction"), str):
            return {**value, "direction": [value["direction"]]}
        return value

    def conditions(self) -> tuple[Condition, ...]:
        """As the rules want them."""
        named = [(key, getattr(self, key)) for key in KEYS]
        named += [(f"variables.{name}", patterns) for name, patterns in self.variables.items()]
        return tuple(Condition(key, tuple(patterns)) for key, patterns in named if patterns)


class GateChanges(Section):
    """What a rule changes of `gate`; null leaves it as it is there."""

    mode: Literal["immediate", "vad", "hybrid"] | None = None
    silence_ms: Silence | None = None
    preroll_ms: Annotated[int, Field(ge=0, le=5000)] | None = None
    hangover_ms: Annotated[int, Field(ge=0, le=10000)] | None = None
    min_speech_ms: Annotated[int, Field(ge=0, le=5000)] | None = None
    max_utterance_ms: Annotated[int, Field(ge=1000, le=120000)] | None = None
    aggressiveness: Annotated[int, Field(ge=0, le=3)] | None = None


class RtzrChanges(Section):
    """What a rule changes of `rtzr`; null leaves it as it is there."""

    model_name: Name | None = None
    domain: Literal["CALL", "MEETING"] | None = None
    language: Name | None = None
    use_itn: bool | None = None
    use_disfluency_filter: bool | None = None
    use_profanity_filter: bool | None = None
    use_punctuation: bool | None = None
    keywords: Keywords | None = None
    epd_time: Annotated[float, Field(gt=0, le=60)] | None = None
    max_utter_duration: Annotated[int, Field(ge=1, le=600)] | None = None


_Changed = TypeVar("_Changed", bound=Section)


def changed(base: _Changed, changes: Section) -> _Changed:
    """The section with what is given in `changes`. Raises ValidationError where that does not go together."""
    given = changes.model_dump(mode="json", exclude_none=True)
    return type(base).model_validate(base.model_dump(mode="json") | given)


class Choosing(Section):
    """A rule: which calls it chooses, and what is different for them."""

    name: RuleName
    """Of this rule alone: events, logs and commands tell it."""
    match: Match = Match()
    tap: bool = True
    """false: the calls that it chooses are not transcribed."""
    sample: Annotated[float, Field(ge=0, le=100)] = 100
    """Of the calls that it chooses, so many in a hundred are transcribed."""
    priority: Annotated[int, Field(ge=-100, le=100)] = 0
    """Whose legs get RTZR's channels first, the higher ones."""
    gate: GateChanges = GateChanges()
    rtzr: RtzrChanges = RtzrChanges()
    consent: Literal["required"] | None = None
    """required: its calls begin paused, until consent is given: docs/pause.md."""
    sinks: SinkNames | None = None
    """Where what is told of its calls goes; null for every sink that is on, [] for none."""

    def rule(self) -> CallRule:
        """As `wire.rules` wants it."""
        return CallRule(self.name, self.match.conditions(), self.tap, self.sample)
