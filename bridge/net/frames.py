"""Errors of libraries, let go of: their frames keep a whole connection, and that keeps the error.

Nobody but the collector would free such a cycle, and that comes seldom (`load.collect_seldom`): during an
outage every try would leave one.
"""

from websockets.exceptions import InvalidStatus
from websockets.http11 import Response


def forget_frames(error: BaseException) -> None:
    """The error and what it came from keep no frame any more; to be called where it is not raised on."""
    seen: BaseException | None = error
    while seen is not None:
        seen.__traceback__ = None
        seen = seen.__cause__ or seen.__context__


def answer_of(error: InvalidStatus) -> Response:
    """The answer that was no handshake. It and the error kept each other; it can be asked for once."""
    forget_frames(error)
    answer = error.response
    del error.response
    return answer
