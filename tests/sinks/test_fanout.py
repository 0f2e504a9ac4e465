"""bridge/sinks/fanout.py: a call's events go where its rule says, and nothing of a call is kept for ever."""

from collections.abc import Sequence

from bridge.sinks import fanout
from bridge.sinks.fanout import FanOut
from bridge.sinks.queued import QueuedSink
from bridge.types import Event


class _Sink(QueuedSink):
    def __init__(self, name: str) -> None:
        super().__init__()
        self._name = name
        self.got: list[tuple[str, str]] = []

    @property
    def name(self) -> str:
        return self._name

    def deliver(self, event: Event) -> None:
        self.got.append((event.subject, event.type.removeprefix("rtzr.")))

    async def put(self, events: Sequence[Event]) -> bool:
        raise NotImplementedError


def event(call: str, kind: str, **data: str) -> Event:
    return Event("id", f"rtzr.{kind}", call, "now", dict(data))


def fed(*events: Event, **by_rule: list[str]) -> tuple[FanOut, list[list[tuple[str, str]]]]:
    sinks = [_Sink("console"), _Sink("jsonl")]
    fan = FanOut(sinks, {rule: frozenset(names) for rule, names in by_rule.items()})
    for one in events:
        fan.publish(one)
    return fan, [sink.got for sink in sinks]


def test_a_rules_calls_go_where_it_says_and_others_everywhere() -> None:
    calls = [("1", "mine"), ("2", "other"), ("3", "")]
    events = [event(call, "call.started", **({"rule": rule} if rule else {})) for call, rule in calls]
    events += [event(call, "transcript.final") for call, _ in calls]
    events += [event(call, "call.ended") for call, _ in calls]
    fan, (console, jsonl) = fed(*events, mine=["jsonl"])
    assert [call for call, _ in console] == ["2", "3"] * 3
    assert jsonl == [(one.subject, one.type.removeprefix("rtzr.")) for one in events]
    assert fan.remembered == 1


def test_what_comes_late_goes_there_too_and_a_call_that_nobody_knows_everywhere() -> None:
    began, ended = event("1", "call.started", rule="mine"), event("1", "call.ended")
    late, unknown = event("1", "transcript.final"), event("0", "transcript.final")
    _, (console, jsonl) = fed(began, ended, late, unknown, mine=["jsonl"])
    assert console == [("0", "transcript.final")]
    assert len(jsonl) == 4


def late(call: str, rule: str) -> Event:
    return Event("id", "rtzr.transcript.final", call, "now", {}, rule=rule)


def test_what_says_its_rule_goes_where_that_says_though_nobody_knows_the_call() -> None:
    _, (console, jsonl) = fed(late("1", "mine"), late("2", "other"), late("3", ""), mine=["jsonl"])
    assert [call for call, _ in console] == ["2", "3"]
    assert [call for call, _ in jsonl] == ["1", "2", "3"]


def test_what_says_its_rule_goes_there_though_its_call_is_of_another_now() -> None:
    began = event("1", "call.started", rule="theirs")
    _, (console, jsonl) = fed(began, late("1", "mine"), mine=["jsonl"], theirs=["console"])
    assert [kind for _, kind in console] == ["call.started"]
    assert [kind for _, kind in jsonl] == ["transcript.final"]


def test_what_says_its_rule_does_not_go_to_a_sink_for_every_call_that_the_rule_leaves_out() -> None:
    outbox = _Sink("outbox")
    outbox.for_every_call = True
    fan = FanOut([outbox], {"mine": frozenset(), "theirs": frozenset({"outbox"})})
    for rule in ("mine", "theirs"):
        fan.publish(late(rule, rule))
    assert [call for call, _ in outbox.got] == ["theirs"]


def test_a_call_that_begins_again_is_of_its_new_rule() -> None:
    _, (console, _) = fed(
        event("1", "call.started", rule="mine"),
        event("1", "call.ended"),
        event("1", "call.started", rule="theirs"),
        event("1", "transcript.final"),
        event("1", "call.started"),
        event("1", "transcript.final"),
        mine=["jsonl"],
        theirs=["console"],
    )
    assert len(console) == 4


def test_a_rule_may_name_none() -> None:
    _, got = fed(event("1", "call.started", rule="mine"), event("1", "transcript.final"), mine=[])
    assert got == [[], []]


def test_calls_are_forgotten() -> None:
    events = [
        event(str(n), kind, rule="mine") for n in range(20_000) for kind in ("call.started", "call.ended")
    ]
    fan, _ = fed(*events, mine=["jsonl"])
    assert fan.remembered == fanout._ENDED


def test_a_sink_for_every_call_gets_what_a_rule_sends_elsewhere_too() -> None:
    console, outbox = _Sink("console"), _Sink("outbox")
    outbox.for_every_call = True
    fan = FanOut([console, outbox], {"mine": frozenset()})
    for one in (event("1", "call.started", rule="mine"), event("1", "call.ended")):
        fan.publish(one)
    assert console.got == []
    assert outbox.got == [("1", "call.started"), ("1", "call.ended")]
