"""`rtzr-bridge run` as a process of its own, beside a FreeSWITCH that is replayed in a thread of its own."""

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.asterisk.daemon import BridgeProcess, EmulatorProcess
from tests.asterisk.pbx import free_tcp_port, wait_for
from tests.freeswitch.replayer import Replayer


class FreeSwitchBridge(BridgeProcess):
    """The daemon, configured for the FreeSWITCH on `esl_port`."""

    def __init__(self, esl_port: int, emulator: EmulatorProcess, folder: Path, **changes: Any) -> None:
        self._esl_port = esl_port
        super().__init__(None, emulator, folder, **changes)

    def _settings(self, emulator: EmulatorProcess, changes: dict[str, Any]) -> dict[str, Any]:
        own: dict[str, Any] = {
            "pbx": "freeswitch",
            "freeswitch": {"esl_host": "127.0.0.1", "esl_port": self._esl_port},
            "media": {"websocket_port": free_tcp_port()},
            "rules": [{"name": "all"}],
        }
        for section, keys in changes.items():
            own[section] = {**own.get(section, {}), **keys} if isinstance(keys, dict) else keys
        settings = super()._settings(emulator, own)
        del settings["asterisk"]
        return settings

    def _secrets(self) -> dict[str, str]:
        return {"ESL_PASSWORD": Replayer.password}

    def _connections(self) -> int:
        text = self.printed() if self.log.exists() else ""
        return text.count('"freeswitch connected"')


class ReplayThread:
    """Runs a replayer beside a test that blocks."""

    def __init__(self, make: Callable[[], Replayer]) -> None:
        self.replayer = make()
        self.over = threading.Event()
        self.error: BaseException | None = None
        self._listening = threading.Event()
        self._leave: Callable[[], object] = lambda: None
        self._thread = threading.Thread(target=self._run, name="replay")

    def __enter__(self) -> Self:
        self._thread.start()
        self._listening.wait(10)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._leave()
        self._thread.join(10)

    def _run(self) -> None:
        try:
            asyncio.run(self._play(), debug=False)  # its pace is what a test relies on
        except BaseException as error:  # told to the test, which waits for it
            self.error = error
        self._listening.set()
        self.over.set()

    async def _play(self) -> None:
        left = asyncio.Event()
        loop = asyncio.get_running_loop()
        self._leave = lambda: loop.is_closed() or loop.call_soon_threadsafe(left.set)
        async with self.replayer:
            self._listening.set()
            await self.replayer.play()
            self.over.set()
            await left.wait()

    def wait(self, timeout_s: float) -> None:
        """Until all is told and every stream is over."""
        wait_for(self.over.is_set, timeout_s, lambda: "the replay is not over")
        if self.error is not None:
            raise self.error
