"""bridge/tally.py: latencies and costs of events reach the metrics, wherever a leg is heard."""

from bridge import events, metrics
from bridge.events import LegEvents
from bridge.tally import tallied
from bridge.types import Event, LegId, Party, Role, Transcript
from bridge.wire.cost import Cost
from bridge.wire.ledger import Ledger

LEG = LegId("call", "1")


def value(name: str, **labels: str) -> float:
    return metrics.REGISTRY.get_sample_value(name, labels) or 0.0


def spoken(*, final: bool, latency_ms: int, late: bool = False) -> Event:
    made = LegEvents(LEG, Party(Role.CALLER)).transcript(
        Transcript(LEG, "네", 0, 500, final), latency_ms=latency_ms
    )
    made.data.update({"late": True} if late else {})
    return made


def test_each_kind_of_transcript_has_its_latency_and_late_ones_have_none() -> None:
    name = "rtzr_bridge_transcript_latency_seconds"
    before = {kind: value(f"{name}_count", kind=kind) for kind in ("final", "partial")}
    in_time = value(f"{name}_bucket", kind="final", le="0.5")
    told: list[Event] = []
    publish = tallied(told.append)
    every = [
        spoken(final=True, latency_ms=400),
        spoken(final=True, latency_ms=700),
        spoken(final=True, latency_ms=90_000, late=True),
        spoken(final=False, latency_ms=-20),
    ]
    for event in every:
        publish(event)
    assert told == every
    assert value(f"{name}_count", kind="final") == before["final"] + 2
    assert value(f"{name}_bucket", kind="final", le="0.5") == in_time + 1
    assert value(f"{name}_count", kind="partial") == before["partial"] + 1


def test_calls_and_what_they_cost_are_counted() -> None:
    names = ("billed_seconds_total", "cost_won_total", "saved_won_total", "calls")
    before = {name: value(f"rtzr_bridge_{name}") for name in names}
    partial = value("rtzr_bridge_calls_ended_total", verdict="partial")
    publish = tallied(lambda _: None)
    publish(events.call_started("call", 0))
    assert value("rtzr_bridge_calls") == before["calls"] + 1
    publish(events.call_ended("call", 9, Ledger(), 2, ["ring"], Cost(20, 5.5, 10, 2.75)))
    grown = {name: value(f"rtzr_bridge_{name}") - before[name] for name in names}
    assert grown == {"billed_seconds_total": 20, "cost_won_total": 5.5, "saved_won_total": 2.75, "calls": 0}
    assert value("rtzr_bridge_calls_ended_total", verdict="partial") == partial + 1
