"""Which sinks an event goes to: every one, or those that the rule of its call names. Nothing here waits."""

from collections.abc import Mapping, Sequence

from bridge.sinks.queued import QueuedSink
from bridge.types import CallId, Event

_ENDED = 10_000
"""How many calls are still known when they are over: what was spooled comes late."""

Sinks = Sequence[QueuedSink]


class FanOut:
    """`publish` every event of the daemon, in order."""

    def __init__(self, sinks: Sinks, by_rule: Mapping[str, frozenset[str]] | None = None) -> None:
        """`by_rule`: the names of the sinks for the calls of a rule; those of any other rule, and calls that
        nobody knows, go to every one. A sink that is for every call gets them all, but for what says its rule
        itself, because it comes late: that goes by its rule alone."""
        self._sinks = sinks
        self._by_rule: dict[str, Sinks] = {}
        self._late: dict[str, Sinks] = {}
        self.adopt(by_rule or {})
        self._live: dict[CallId, Sinks] = {}
        self._ended: dict[CallId, Sinks] = {}

    def adopt(self, by_rule: Mapping[str, frozenset[str]]) -> None:
        """Other names, for calls that begin from now on, and for what comes late."""
        self._by_rule = {
            rule: tuple(sink for sink in self._sinks if sink.for_every_call or sink.name in names)
            for rule, names in by_rule.items()
        }
        self._late = {
            rule: tuple(sink for sink in self._sinks if sink.name in names) for rule, names in by_rule.items()
        }

    @property
    def remembered(self) -> int:
        """Calls that are known by their rule."""
        return len(self._live) + len(self._ended)

    def publish(self, event: Event) -> None:
        if event.type == "rtzr.call.started":
            self._begin(event)
        for sink in self._sinks_of(event):
            sink.deliver(event)
        if event.type == "rtzr.call.ended":
            self._end(event.subject)

    def _sinks_of(self, event: Event) -> Sinks:
        if event.rule is not None:
            return self._late.get(event.rule, self._sinks)
        known = self._live if event.subject in self._live else self._ended
        return known.get(event.subject, self._sinks)

    def _begin(self, event: Event) -> None:
        call = event.subject
        self._live.pop(call, None)
        self._ended.pop(call, None)
        chosen = self._by_rule.get(event.data.get("rule", ""))
        if chosen is not None:
            self._live[call] = chosen

    def _end(self, call: CallId) -> None:
        chosen = self._live.pop(call, None)
        if chosen is None:
            return
        self._ended[call] = chosen
        if len(self._ended) > _ENDED:
            del self._ended[next(iter(self._ended))]
