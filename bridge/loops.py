"""The event loop that everything runs on: uvloop where the platform has it. Names are looked up outside of
its pool of threads, and an end that waits for one of those is cut short.
"""

import asyncio
import contextlib
import os
import socket
import ssl
import sys
import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import structlog

from bridge.net.names import Found, Names, is_address

_log = structlog.get_logger()

_CLOSING_S = 5.0
"""How long a loop may take to close once what ran on it is over."""
_T = TypeVar("_T")


class _ByName:
    """What of a loop looks up names; both methods, as uvloop connects without its own `getaddrinfo`."""

    def __init__(self) -> None:
        super().__init__()
        self._names = Names()

    async def getaddrinfo(self, host: Any, port: Any, **how: int) -> Found:
        return await self._names.look_up(host, port, **how)

    async def create_connection(self, factory: Any, host: Any = None, port: Any = None, **how: Any) -> Any:
        """As every loop's; the addresses of a name are tried in turn. Raises the first one's error."""
        connect: Callable[..., Any] = super().create_connection  # type: ignore[misc]
        if is_address(host):
            return await connect(factory, host, port, **how)
        if how.get("ssl") and how.get("server_hostname") is None:
            how["server_hostname"] = host
        asked = {key: how.pop(key, 0) for key in ("family", "proto", "flags")}
        errors: list[OSError] = []
        for _, _, _, _, where in await self._names.look_up(host, port, type=socket.SOCK_STREAM, **asked):
            try:
                return await connect(factory, where[0], where[1], **how)
            except ssl.SSLError:
                raise
            except OSError as error:
                errors.append(error)
        raise errors[0]


def _quickest() -> Any:
    try:
        import uvloop
    except ImportError:
        return asyncio.SelectorEventLoop
    return uvloop.Loop


def by_name(base: Any) -> Any:
    """A class of loops, made of another one: it looks up names on threads of their own."""
    return type("Loop", (_ByName, base), {})


_Loop = by_name(_quickest())


def new_loop() -> asyncio.AbstractEventLoop:
    """A loop, for `asyncio.Runner`."""
    loop: asyncio.AbstractEventLoop = _Loop()
    return loop


def run(work: Coroutine[Any, Any, _T]) -> _T:
    """Run a coroutine to its end."""
    with asyncio.Runner(loop_factory=new_loop) as runner:
        return runner.run(work)


def run_to_exit(work: Coroutine[Any, Any, int]) -> int:
    """As `run`, for what returns the exit code with which the process ends next.

    Closing a loop waits for the threads of its pool, and one may hang for ever in a call of the system: after
    a while the process ends without it, with that code.
    """
    closed = threading.Event()
    try:
        with asyncio.Runner(loop_factory=new_loop) as runner:
            code = runner.run(work)
            threading.Thread(target=_end, args=(code, closed), name="end", daemon=True).start()
            return code
    finally:
        closed.set()


def _end(code: int, closed: threading.Event) -> None:
    if closed.wait(_CLOSING_S):
        return
    _log.warning("ended without a thread that hangs")
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)
