"""One load: so many legs through the real daemon for a while, and what it cost.

Four processes: the daemon, a PBX that sends (`pbx`), RTZR that swallows (`sink`), and this one. The daemon
has one core for itself where there are two, or as many as it has workers; what the others took is in the
row, so that a reader sees that they were not what was measured.
"""

import asyncio
import json
import os
import subprocess
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench import machine
from bench.aside import Aside
from bench.outcome import percentile

_FIRST_PORT = 20_000
_PATIENCE_S = 30.0
_SETTLED_S = 2.0
"""After that a daemon has its token and its workers, and its memory is that of no leg."""


@dataclass(frozen=True, slots=True)
class Load:
    """What is measured."""

    legs: int = 200
    gate: str = "immediate"
    message_ms: int = 100
    codec: str = "ulaw"
    tls: bool = False
    uvloop: bool = True
    partials_s: float = 0
    workers: int = 1
    full_at: float = 1.0
    calls_per_s: int = 15
    settle_s: float = 3.0
    measure_s: float = 12.0


@dataclass(slots=True)
class Rig:
    """The processes of one load, running."""

    load: Load
    pbx: Aside
    sink: Aside
    host: Aside
    empty_kb: int = 0

    def daemon(self) -> list[int]:
        """The daemon's processes."""
        return machine.family(self.host.pid)

    async def ring(self, legs: int) -> None:
        """So many more legs, and all of them heard."""
        await self.pbx.ask("ring", legs // 2)
        await self.wait_for(legs)

    async def wait_for(self, legs: int) -> None:
        """Until RTZR has so many streams. Raises TimeoutError."""
        await streams(self.sink, legs)


async def streams(sink: Aside, legs: int) -> None:
    """Wait until RTZR has so many streams. Raises TimeoutError."""
    async with asyncio.timeout(_PATIENCE_S):
        while (await sink.ask("streams")) != legs:  # noqa: ASYNC110 - it is in another process
            await asyncio.sleep(0.1)


def urls(sink: int, *, tls: bool = False) -> dict[str, str]:
    """Where a daemon's configuration is to look for that RTZR."""
    web, stream = ("https", "wss") if tls else ("http", "ws")
    return {
        "auth_url": f"{web}://127.0.0.1:{sink}/v1/authenticate",
        "stream_url": f"{stream}://127.0.0.1:{sink}/v1/transcribe:streaming",
    }


QUIET: Mapping[str, Any] = {
    "drain_s": 0,
    "sinks": {"console": {"enabled": False}},
    "log": {"level": "error"},
}
"""Of a configuration: it ends at once, and prints nothing."""


@asynccontextmanager
async def rig(load: Load) -> AsyncIterator[Rig]:
    """Everything started, no call yet; on exit everything has ended."""
    everywhere = sorted(os.sched_getaffinity(0))
    mine = set(everywhere[-load.workers :]) if len(everywhere) > load.workers else None
    others = set(everywhere) - mine if mine else None
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        tls = _certificate(folder) if load.tls else None
        sink_settings = {"tls": tls, "partials_s": load.partials_s}
        pbx_settings = {"codec": load.codec, "per_s": 2 * load.calls_per_s}
        async with (
            Aside("bench.sink", sink_settings, others) as sink,
            Aside("bench.pbx", pbx_settings, others) as pbx,
        ):
            config = folder / "bridge.yaml"
            config.write_text(json.dumps(_config(load, sink.greeting["port"], pbx.greeting["port"], tls)))
            host_settings = {"config": str(config), "uvloop": load.uvloop}
            async with Aside("bench.host", host_settings, mine) as host:
                one = Rig(load, pbx, sink, host)
                await asyncio.sleep(_SETTLED_S)
                one.empty_kb = machine.rss_kb(one.daemon())
                yield one


def _config(load: Load, sink: int, pbx: int, tls: dict[str, str] | None) -> dict[str, Any]:
    return {
        "rtzr": urls(sink, tls=tls is not None) | ({"ca_file": tls["cert"]} if tls else {}),
        "asterisk": {"ari_url": f"http://127.0.0.1:{pbx}/ari"},
        "media": {
            "first_port": _FIRST_PORT,
            "last_port": _FIRST_PORT + 4 * load.legs * load.workers,
            "codec": load.codec,
            "message_ms": load.message_ms,
        },
        "gate": {"mode": load.gate},
        "workers": load.workers,
        "overload": {"full_at": load.full_at},
        **QUIET,
    }


def _certificate(folder: Path) -> dict[str, str]:
    """A certificate for this machine, by itself."""
    cert, key = str(folder / "cert.pem"), str(folder / "key.pem")
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-keyout", key,
               "-out", cert, "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]  # fmt: skip
    subprocess.run(command, check=True, capture_output=True)
    return {"cert": cert, "key": key}


async def measure(load: Load) -> dict[str, Any]:
    """The row of one load. Raises AsideError and TimeoutError."""
    async with rig(load) as one:
        await one.ring(load.legs)
        await asyncio.sleep(load.settle_s)
        return await interval(one, load.measure_s)


async def interval(one: Rig, seconds: float) -> dict[str, Any]:
    """What the legs that are up cost in the next `seconds`."""
    loop, daemon = asyncio.get_running_loop(), one.daemon()
    for part in (one.sink, one.pbx):
        await part.ask("reset")
    await one.host.ask("lag")
    dropped, began = machine.datagrams_dropped(), loop.time()
    before = [machine.cpu_ms(pids) for pids in (daemon, [one.sink.pid], [one.pbx.pid])]
    await asyncio.sleep(seconds)
    after = [machine.cpu_ms(pids) for pids in (daemon, [one.sink.pid], [one.pbx.pid])]
    took_s = loop.time() - began
    lost = machine.datagrams_dropped() - dropped
    late_ms = await one.host.ask("lag")
    heard, sent = await one.sink.ask("heard"), await one.pbx.ask("sent")
    cpu, sink_cpu, pbx_cpu = (end - start for start, end in zip(before, after, strict=True))
    load = one.load
    return {
        "legs": load.legs,
        "gate": load.gate,
        "message_ms": load.message_ms,
        "codec": load.codec,
        "tls": load.tls,
        "uvloop": load.uvloop,
        "partials_s": load.partials_s,
        "workers": load.workers,
        "cpu_ms_per_leg_s": round(cpu / took_s / load.legs, 3),
        "core_share": round(cpu / took_s / 1000, 3),
        "rss_kb_per_leg": round((machine.rss_kb(daemon) - one.empty_kb) / load.legs, 1),
        **_added(heard["added_ms"]),
        "loop_lag_ms_p999": round(percentile(late_ms or [0.0], 0.999), 2),
        "packets_lost": lost,
        "packets_missing": heard["missing"] if load.gate != "vad" else None,
        "fds": machine.descriptors(daemon),
        "packets_sent_per_s": round(sent["sent"] / took_s),
        "sender_late_ms": sent["late_ms"],
        "sender_share": round(pbx_cpu / took_s / 1000, 3),
        "sink_share": round(sink_cpu / took_s / 1000, 3),
    }


def _added(added_ms: Sequence[float]) -> dict[str, float]:
    values = added_ms or [0.0]
    shares = {"p50": 0.5, "p99": 0.99, "p999": 0.999}
    return {f"added_ms_{name}": round(percentile(values, share), 2) for name, share in shares.items()}
