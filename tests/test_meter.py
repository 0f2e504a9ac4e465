"""bridge/meter.py: what the parts count reaches the metrics as differences, once."""

from bridge import metrics
from bridge.config import Config, Secrets
from bridge.inlets import Inlets, Ports
from bridge.meter import Meter
from bridge.sinks.queued import BlockingSink
from bridge.types import Event
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


def value(name: str, **labels: str) -> float:
    return metrics.REGISTRY.get_sample_value(name, labels) or 0.0


async def test_a_tick_tells_what_has_grown_since_the_last() -> None:
    config = Config().with_secrets(Secrets("id", "secret", "password"))
    tokens = build_tokens(config)
    speech = build_rtzr(config, tokens)
    async with tokens, build_asterisk(config) as ari:
        sink = _Sink(bound=1)
        governor = build_governor(config, speech)
        desks = build_desks(config, ports_of(config, 0), governor, speech, sink.deliver)
        switchboard = build_switchboard(config, ari, desks, sink.deliver)
        meter = Meter(switchboard, desks, ari, tokens, governor, [sink])
        issued = value("rtzr_bridge_tokens_issued_total")
        dropped = value("rtzr_bridge_events_total", sink="_", fate="dropped")
        requested = value("rtzr_bridge_pbx_total", fate="requested")
        tokens.issued = 2
        ari.counters.requested = 3
        for number in range(3):
            sink.deliver(Event(str(number), "rtzr.gap", "call", "now", {}))
        meter.tick()
        meter.tick()
        assert value("rtzr_bridge_tokens_issued_total") - issued == 2
        assert value("rtzr_bridge_events_total", sink="_", fate="dropped") - dropped == 2
        assert value("rtzr_bridge_pbx_total", fate="requested") - requested == 3
        assert value("rtzr_bridge_legs") == 0
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
