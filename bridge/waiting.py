"""A word to whoever waits at a terminal: what is being waited for, once it takes more than a moment.

Nothing in pipes, nothing with --json, and nothing that stays: it is gone when the answer is there.
"""

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.status import Status

_MOMENT_S = 0.5


@contextmanager
def waited(what: str, *, quiet: bool = False) -> Iterator[Callable[[str], None]]:
    """While the body runs, `what` is shown; the body may say that something else is waited for by now."""
    if quiet or not (sys.stdout.isatty() and sys.stderr.isatty()):
        yield lambda _what: None
        return
    shown = _Shown(what)
    timer = threading.Timer(_MOMENT_S, shown.start)
    timer.daemon = True
    timer.start()
    try:
        yield shown.say
    finally:
        timer.cancel()
        timer.join()
        shown.stop()


class _Shown:
    """What is waited for, and where that is shown, if it is yet."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._status: Status | None = None

    def start(self) -> None:
        from rich.console import Console  # most answers come sooner than these modules

        console = Console(stderr=True, highlight=False, markup=False, emoji=False)
        self._status = console.status(self._what)
        self._status.start()

    def say(self, what: str) -> None:
        self._what = what
        if self._status is not None:
            self._status.update(what)

    def stop(self) -> None:
        if self._status is not None:
            self._status.stop()
