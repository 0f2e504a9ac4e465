"""What the log says of an endpoint that fails: little, however often it does.

What a failure is, is `bridge.delivery.delivering`'s.
"""

from collections.abc import Callable

import structlog

_log = structlog.get_logger()

_TELL_S = 60.0
"""Between two lines about an endpoint: one that fails every other time shall not fill the log."""


class EndpointLog:
    """One line a minute at most, with what came of it since; but at once when the endpoint is gone."""

    def __init__(self, endpoint: str, clock: Callable[[], float]) -> None:
        self._endpoint = endpoint
        self._clock = clock
        self._failing = False
        self._flips = 0
        """How often it failed after it worked, or worked after it failed, since the last line."""
        self._reason = ""
        self._told_s = float("-inf")

    def failed(self, reason: str, *, gone: bool) -> None:
        self._flips += not self._failing
        self._failing, self._reason = True, reason
        if gone or self._due:
            self._tell(gone=gone)

    def worked(self) -> None:
        self._flips += self._failing
        self._failing = False
        self.look()

    def look(self) -> None:
        """Tell what had to wait."""
        if self._flips and self._due:
            self._tell()

    @property
    def _due(self) -> bool:
        return self._clock() - self._told_s >= _TELL_S

    def _tell(self, *, gone: bool = False) -> None:
        if self._failing:
            told = {"reason": self._reason, "gone": gone, "flips": self._flips}
            _log.warning("not delivered", endpoint=self._endpoint, **told)
        else:
            _log.info("delivered again", endpoint=self._endpoint, flips=self._flips)
        self._flips, self._told_s = 0, self._clock()
