"""bridge/meter.py: what the parts count reaches the metrics as differences, once."""

import subprocess
import time
from types import SimpleNamespace
from typing import cast

from bridge import metrics
from bridge.calls.switchboard import Switchboard
from bridge.config import Config, Secrets
from bridge.leg.desk import Counts, Desks
from bridge.leg.inlets import Inlets, Ports
from bridge.load import usage
from bridge.meter import Meter, watched
from bridge.net.ari import AriCounters
from bridge.pbx import Pbx
from bridge.readiness import Readiness
from bridge.sinks.queued import BlockingSink
from bridge.spool.catchup import CatchUpCounters
from bridge.types import Event, Token
from bridge.wiring import (
    build_asterisk,
    build_desks,
    build_governor,
    build_rtzr,
    build_switchboard,
    build_tokens,
    ports_of,
)


class _Sink(BlockingSink):
    def write(self, events: object) -> bool:
        return False


def _sleeping() -> subprocess.Popen[bytes]:
    return subprocess.Popen(["sleep", "60"])


def value(name: str, **labels: str) -> float:
    return metrics.REGISTRY.get_sample_value(name, labels) or 0.0


async def test_a_tick_tells_what_has_grown_since_the_last() -> None:
    config = Config().with_secrets(Secrets("id", "secret", "password"))
    tokens = build_tokens(config)
    speech = build_rtzr(config, tokens)
    async with tokens, build_asterisk(config) as ari:
        sink, readiness = _Sink(bound=1), Readiness()
        governor = build_governor(config, speech)
        desks = build_desks(config, ports_of(config, 0), governor, speech, sink.deliver)
        switchboard = build_switchboard(config, ari, desks, sink.deliver)
        meter = Meter(switchboard, desks, ari, tokens, governor, [sink], readiness)
        issued = value("rtzr_bridge_tokens_issued_total")
        dropped = value("rtzr_bridge_events_total", sink="_", fate="dropped")
        requested = value("rtzr_bridge_pbx_total", fate="requested")
        tokens.issued = 2
        meter.late = CatchUpCounters(sent=3, done=2)
        ari.counters.requested = 3
        for number in range(3):
            sink.deliver(Event(str(number), "rtzr.gap", "call", "now", {}))
        meter.tick()
        meter.tick()
        assert value("rtzr_bridge_tokens_issued_total") - issued == 2
        assert value("rtzr_bridge_events_total", sink="_", fate="dropped") - dropped == 2
        assert value("rtzr_bridge_pbx_total", fate="requested") - requested == 3
        assert value("rtzr_bridge_late_total", fate="sent") == 3
        assert value("rtzr_bridge_legs") == 0
        assert value("rtzr_bridge_sink_waiting", sink="_") == 1
        assert value("rtzr_bridge_ready") == 0, "it is starting"
        tokens._token = Token("token", time.time() + 60)
        readiness.begin(ari, tokens, governor, [sink])
        ari.counters.connected = 1
        meter.tick()
        assert (value("rtzr_bridge_ready"), value("rtzr_bridge_pbx_connected")) == (1, 1)
        assert value("rtzr_bridge_sessions") == 0


async def test_who_was_not_let_in_by_a_media_server_is_counted() -> None:
    config = Config().with_secrets(Secrets("id", "secret", "password"))
    tokens = build_tokens(config)
    speech = build_rtzr(config, tokens)
    async with tokens:
        sink = _Sink(bound=1)
        desks = build_desks(config, ports_of(config, 0), build_governor(config, speech), speech, sink.deliver)
        desks.inlets = Inlets(Ports("127.0.0.1", range(47_020, 47_040), 0, 0, 0.0), 60)
        assert desks.counts().fates == {}
        asterisk = await desks.inlets.websocket()
        freeswitch = await desks.inlets.audiostream()
        asterisk.counters.foreign = 2
        freeswitch.counters.foreign = 1
        freeswitch.counters.overrun = 4
        assert desks.counts().fates == {"media_foreign": 3, "media_overrun": 4}
        freeswitch.counters.foreign = 6
        assert desks.counts().fates == {"media_foreign": 5}
        assert desks.counts().fates == {}
        await desks.inlets.close()


def test_the_lag_of_the_loop_is_a_histogram_and_goes_on_to_who_asked() -> None:
    seen: list[tuple[float, float]] = []
    before = value("rtzr_bridge_loop_lag_seconds_count", process="daemon")
    watched(lambda cpu_s, lag_ms: seen.append((cpu_s, lag_ms)))(1.5, 20.0)
    watched()(1.5, 20.0)
    assert value("rtzr_bridge_loop_lag_seconds_count", process="daemon") == before + 2
    assert seen == [(1.5, 20.0)]


async def test_workers_are_told_of_by_their_processes_and_forgotten_with_them() -> None:
    config = Config().with_secrets(Secrets("id", "secret", "password"))
    tokens = build_tokens(config)
    governor = build_governor(config, build_rtzr(config, tokens))
    with _sleeping() as process:
        counts = [
            Counts(audio={"sent": 500.0}, backlog_ms=2000, processes={"worker 0": process.pid}),
            Counts(),
        ]
        desks = cast("Desks", SimpleNamespace(counts=lambda: counts.pop(0)))
        paused = SimpleNamespace(paused=lambda: {"call-1"})
        switchboard = cast("Switchboard", SimpleNamespace(legs=1, refused={}, pauses=paused))
        pbx = cast("Pbx", SimpleNamespace(counters=AriCounters()))
        meter = Meter(switchboard, desks, pbx, tokens, governor, [], Readiness())
        sent = value("rtzr_bridge_audio_seconds_total", fate="sent")
        meter.tick()
        assert value("rtzr_bridge_calls_paused") == 1
        process.kill()
    assert value("rtzr_bridge_worker_resident_memory_bytes", process="worker 0") > 0
    assert value("rtzr_bridge_worker_open_fds", process="worker 0") > 0
    assert value("rtzr_bridge_audio_seconds_total", fate="sent") == sent + 0.5
    assert value("rtzr_bridge_backlog_seconds") == 2
    meter.tick()
    name = "rtzr_bridge_worker_resident_memory_bytes"
    assert metrics.REGISTRY.get_sample_value(name, {"process": "worker 0"}) is None
    assert usage(process.pid) is None
