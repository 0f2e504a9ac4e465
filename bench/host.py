"""The daemon under load: the real one, in a process of its own, that can be asked how its loop does.

`python -m bench.host '{"config": "/path", "uvloop": true}'`. With PROFILE=FILE in the environment it writes
cProfile's figures there.
"""

import asyncio
import cProfile
import gc
import json
import os
import signal
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from bench.aside import serve
from bench.lag import watched
from bridge import daemon, logs
from bridge.config import load
from bridge.loops import new_loop

_SECRETS = {"RTZR_CLIENT_ID": "load", "RTZR_CLIENT_SECRET": "load", "ARI_PASSWORD": "load"}


async def _process(config: Path, secrets: dict[str, str]) -> None:
    with watched() as lag:

        async def late(_: Any) -> list[float]:
            late_ms = list(lag.late_ms)
            lag.late_ms.clear()
            return late_ms

        async def state(_: Any) -> dict[str, int]:
            return {"tasks": len(asyncio.all_tasks()), "objects": len(gc.get_objects())}

        async def garbage(_: Any) -> dict[str, int]:
            return cycles()

        running = asyncio.create_task(daemon.run(load(config, _SECRETS | secrets)))
        await serve({}, {"lag": late, "state": state, "garbage": garbage})
        os.kill(os.getpid(), signal.SIGTERM)  # nobody asks any more: end as a daemon ends
        await running


def cycles() -> dict[str, int]:
    """What only the collector would have found, by type."""
    gc.set_debug(gc.DEBUG_SAVEALL)
    gc.collect()
    found = Counter(f"{type(one).__module__}.{type(one).__qualname__}" for one in gc.garbage)
    gc.set_debug(0)
    gc.garbage.clear()
    gc.collect()
    return dict(found)


def main(settings: dict[str, Any]) -> None:
    """The process."""
    logs.set_up(os.environ.get("LOG", "error"), "brief")
    profile = cProfile.Profile() if os.environ.get("PROFILE") else None
    with asyncio.Runner(loop_factory=new_loop if settings["uvloop"] else None) as runner:
        work = _process(Path(settings["config"]), settings.get("secrets", {}))
        if profile is None:
            runner.run(work)
        else:
            profile.runcall(runner.run, work)
            profile.dump_stats(os.environ["PROFILE"])


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
