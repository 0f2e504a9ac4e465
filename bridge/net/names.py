"""Names are looked up on threads of their own, so that a name server that hangs holds up nothing else.

The system's resolver blocks, with two dead servers for half a minute a name, and cannot be interrupted. The
event loop's own pool has a few threads (uvloop's: four, which it waits for when it is closed), and a few such
names would take them all.
"""

import asyncio
import socket
import threading
from collections.abc import Sequence
from contextlib import suppress
from ipaddress import ip_address
from typing import Any

Found = Sequence[tuple[Any, Any, int, str, Any]]
"""As `socket.getaddrinfo` gives it."""

MOST = 32
"""Names that are looked up at once by one `Names`."""


class Names:
    """Look-ups, of each name one at a time: who asks meanwhile gets the same answer. For one event loop.

    A thread whose answer nobody wants any more is left to itself: nothing waits for it, and it does not keep
    the process alive.
    """

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._asked: dict[tuple[Any, ...], asyncio.Future[Found]] = {}

    @property
    def under_way(self) -> int:
        """Look-ups, and so threads."""
        return len(self._asked)

    async def look_up(
        self,
        host: str | bytes | None,
        port: int | str | bytes | None = None,
        *,
        family: int = 0,
        type: int = 0,  # noqa: A002 - as the event loop's
        proto: int = 0,
        flags: int = 0,
    ) -> Found:
        """As `socket.getaddrinfo`. Raises socket.gaierror, UnicodeError for what can be no name. It has no
        time-out: whoever is cancelled meanwhile leaves the look-up to the next who asks."""
        what = (host, port, family, type, proto, flags)
        if is_address(host):
            return socket.getaddrinfo(*what)  # nobody is asked
        answer = self._asked.get(what) or self._begin(what)
        await asyncio.wait([answer])  # which, unlike `await answer`, does not cancel it with us
        return answer.result()

    def _begin(self, what: tuple[Any, ...]) -> asyncio.Future[Found]:
        if len(self._asked) >= self._most:
            raise socket.gaierror(socket.EAI_AGAIN, "too many names are being looked up")
        loop = asyncio.get_running_loop()

        def ask() -> None:
            found = _ask(what)
            with suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(self._answered, what, found)

        try:
            threading.Thread(target=ask, name="look-up", daemon=True).start()
        except RuntimeError:
            raise socket.gaierror(socket.EAI_AGAIN, "no thread is to be had to look up a name") from None
        answer = self._asked[what] = loop.create_future()
        return answer

    def _answered(self, what: tuple[Any, ...], found: Found | Exception) -> None:
        answer = self._asked.pop(what)
        if isinstance(found, Exception):
            answer.set_exception(found)
            answer.exception()  # perhaps nobody wants to know any more
        else:
            answer.set_result(found)


def is_address(host: str | bytes | None) -> bool:
    """Whether nothing has to be looked up."""
    text = host.decode("latin-1") if isinstance(host, bytes) else host
    if not text:
        return True
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def _ask(what: tuple[Any, ...]) -> Found | Exception:
    try:
        return socket.getaddrinfo(*what)
    except Exception as error:
        return error
