"""bridge/net/frames.py: an error that was dealt with keeps nothing of where it came from."""

import pytest
from websockets.datastructures import Headers
from websockets.exceptions import InvalidStatus
from websockets.http11 import Response

from bridge.net.frames import answer_of, forget_frames


def _deep() -> None:
    try:
        raise KeyError("first")
    except KeyError as error:
        raise ValueError("then") from error


def test_no_frame_stays_of_the_error_nor_of_what_it_came_from() -> None:
    with pytest.raises(ValueError, match="then") as raised:
        _deep()
    error = raised.value
    forget_frames(error)
    assert error.__traceback__ is None
    assert isinstance(error.__cause__, KeyError)
    assert error.__cause__.__traceback__ is None


def test_a_refused_handshake_is_read_once() -> None:
    answer = Response(503, "Away", Headers(), b"later")
    error = InvalidStatus(answer)
    assert answer_of(error) is answer
    assert not hasattr(error, "response")
