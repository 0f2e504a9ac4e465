"""What is known of each channel that calls, and what the rules say of it: asked whenever more is known, until
one has chosen.

Pure. What a rule is, is in `rules`; what becomes of a chosen call is the roster's business.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from bridge.types import CallId
from bridge.wire.census import Mark
from bridge.wire.pbxevents import Channel
from bridge.wire.rules import CallRule, Choice, Direction, Facts, choose, matches


@dataclass(slots=True)
class Asked:
    """A channel whose linkedid is asked for; a rule has chosen it, or it leads to somebody."""

    rule: str | None
    peers: list[tuple[Channel, str]] = field(default_factory=list)
    """Whom it has dialled meanwhile, and how far that has come."""
    channel: Channel | None = None
    linkedid: CallId = ""
    """The answer, once it is there."""
    late: bool = False
    """Whether it was there before us."""


@dataclass(slots=True)
class Selection:
    rules: tuple[CallRule, ...] = ()
    trunks: tuple[str, ...] = ()
    """Patterns of the contexts in which calls come from outside."""
    _facts: dict[str, Facts] = field(default_factory=dict)
    """Of channels that no rule has chosen yet."""
    _decided: dict[str, Choice] = field(default_factory=dict)

    def choose_by(self, rules: tuple[CallRule, ...], trunks: tuple[str, ...]) -> None:
        """Other rules from now on; what the former ones have chosen stays chosen."""
        self.rules, self.trunks = rules, trunks

    def open(self, channel: str) -> bool:
        """Whether it was asked about, and no rule has chosen it yet."""
        return channel in self._facts

    def decided(self, channel: str) -> Choice | None:
        return self._decided.get(channel)

    def rule(self, channel: str) -> str:
        """The name of the rule that has chosen it; "" for none."""
        choice = self._decided.get(channel)
        return "" if choice is None else choice.rule

    def forbids(self, channel: str) -> bool:
        """Whether a rule has chosen it not to be heard."""
        choice = self._decided.get(channel)
        return choice is not None and not choice.tap

    def note(self, channel: Channel) -> None:
        """Keep what it tells, and ask later."""
        if self.rules:
            self._facts.setdefault(channel.id, facts_of(channel, self.trunks))

    def choice(self, channel: Channel, peer: Channel | None) -> Choice | None:
        """What the rules say of a channel that calls, and perhaps now dials `peer`; None while none does."""
        if not self.rules:
            return None
        if channel.id in self._decided:
            return self._decided[channel.id]
        facts = self._facts[channel.id] = self._learnt(channel, peer)
        choice = choose(self.rules, facts, channel.id)
        if choice is not None:
            self._decided[channel.id] = choice
            del self._facts[channel.id]
        return choice

    def announced(self, here: Mapping[str, Channel], marks: Iterable[Mark]) -> None:
        """Ask about those who announced calls before us: the dialplan's line is on calls, too, that a rule
        forbids."""
        for announcer in {mark.announcer for mark in marks} & here.keys():
            self.choice(here[announcer], None)

    def set(self, channel: Channel, name: str, value: str) -> bool:
        """A variable is one more fact of a channel that calls; whether anybody wants to know."""
        facts = self._facts.get(channel.id)
        if facts is None:
            return False
        bare = name.removeprefix("_").removeprefix("_")  # for `Set(__TENANT=acme)`, the event's name has them
        self._facts[channel.id] = replace(facts, variables={**facts.variables, name: value, bare: value})
        return True

    def drop(self, channel: str) -> None:
        """It is gone."""
        self._facts.pop(channel, None)
        self._decided.pop(channel, None)

    def _learnt(self, channel: Channel, peer: Channel | None) -> Facts:
        """What is known now; where it was taken up and what was dialled there do not change."""
        facts = self._facts.get(channel.id)
        if facts is None:
            facts = facts_of(channel, self.trunks)
        if not facts.caller:  # some channels get their number only after they were made
            facts = replace(facts, caller=channel.number)
        if facts.direction is None and peer is not None and not peer.local:
            outside = matches(self.trunks, peer.context)
            facts = replace(facts, direction=Direction.OUT if outside else Direction.INTERNAL)
        if channel.application == "Queue":
            facts = replace(facts, queue=channel.application_data.partition(",")[0])
        return facts


def facts_of(channel: Channel, trunks: Sequence[str]) -> Facts:
    """What a channel that calls tells of its call by itself."""
    return Facts(
        context=channel.context,
        extension=channel.extension,
        caller=channel.number,
        channel=channel.name,
        direction=Direction.IN if matches(trunks, channel.context) else None,
    )
