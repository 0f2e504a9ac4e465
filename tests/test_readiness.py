"""bridge/readiness.py: it is ready once the PBX is there, RTZR gives tokens and events are written."""

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

from bridge.readiness import Readiness


@dataclass
class Parts:
    """What is asked, as it is when all is well."""

    pbx: Any = field(
        default_factory=lambda: SimpleNamespace(
            counters=SimpleNamespace(connected=2, disconnected=1), why="Connection refused"
        )
    )
    tokens: Any = field(default_factory=lambda: SimpleNamespace(failing=""))
    governor: Any = field(
        default_factory=lambda: SimpleNamespace(counters=SimpleNamespace(spent=False), away="")
    )
    sinks: list[Any] = field(default_factory=lambda: [SimpleNamespace(name="jsonl", failing=False)])


def begun(parts: Parts) -> Readiness:
    readiness = Readiness()
    readiness.begin(parts.pbx, parts.tokens, parts.governor, parts.sinks)
    return readiness


def test_it_is_ready_between_its_start_and_its_end() -> None:
    readiness = Readiness()
    assert readiness.reasons == ["the bridge is starting"]
    parts = Parts()
    readiness.begin(parts.pbx, parts.tokens, parts.governor, parts.sinks)
    assert readiness.reasons == []
    readiness.stop()
    assert readiness.reasons == ["the bridge is stopping"]


def test_with_a_token_and_no_session_it_is_not_ready() -> None:
    parts = Parts()
    readiness = begun(parts)
    parts.governor.away = "cannot be reached"
    assert readiness.reasons == ["RTZR gives no session: cannot be reached"]
    parts.tokens.failing = "cannot be reached"
    assert readiness.reasons == ["RTZR gives no token: cannot be reached"], "once is enough"


def test_each_part_has_its_reason() -> None:
    parts = Parts()
    readiness = begun(parts)
    readiness.watch(lambda: "outbox full")
    parts.pbx.counters.disconnected = 2
    parts.tokens.failing = "authentication: 401"
    parts.governor.counters.spent = True
    parts.sinks[0].failing = True
    assert readiness.reasons == [
        "the PBX is not connected: Connection refused",
        "RTZR gives no token: authentication: 401",
        "RTZR's quota is spent",
        "events are not written: jsonl",
        "outbox full",
    ]
    del parts.pbx.why
    assert "the PBX is not connected" in readiness.reasons
