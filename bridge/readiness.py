"""Whether the daemon is ready for calls, and why not: what load balancers, supervisors and people ask.

It only asks the parts; nothing depends on it. A receiver or a reader that is away is no reason: what is for
it waits.
"""

from collections.abc import Callable, Sequence

from bridge.net.rtzr import Session, Tokens
from bridge.pbx import Pbx
from bridge.quota import Governor
from bridge.sinks.queued import QueuedSink
from bridge.supervisor import Supervisor

Asked = Callable[[], str]
"""Why not all is well with a part; "" if it is."""


class Readiness:
    """`reasons` is empty once all is well."""

    def __init__(self, supervisor: Supervisor | None = None) -> None:
        """`supervisor` is told when all is open, and when it ends."""
        self._supervisor = supervisor
        self._stage = "the bridge is starting"
        self._asked: list[Asked] = []

    @property
    def reasons(self) -> list[str]:
        """A line each; none of them names a call or a party."""
        return [why for why in (self._stage, *(ask() for ask in self._asked)) if why]

    def watch(self, *asked: Asked) -> None:
        """Ask these too."""
        self._asked += asked

    def begin(
        self, pbx: Pbx, tokens: Tokens, governor: Governor[Session], sinks: Sequence[QueuedSink]
    ) -> None:
        """All is open: from now on these decide."""
        self._stage = ""
        self.watch(lambda: line_down(pbx), lambda: _without_token(tokens), lambda: _spent(governor))
        self.watch(lambda: _away(tokens, governor))
        self.watch(lambda: unwritten(sinks))
        if self._supervisor is not None:
            self._supervisor.begun()

    def stop(self) -> None:
        """No new calls."""
        self._stage = "the bridge is stopping"
        if self._supervisor is not None:
            self._supervisor.stopping()


def line_down(pbx: Pbx) -> str:
    """As of `Asked`."""
    if pbx.counters.connected > pbx.counters.disconnected:
        return ""
    why = str(getattr(pbx, "why", ""))
    return f"the PBX is not connected{why and f': {why}'}"


def _without_token(tokens: Tokens) -> str:
    return f"RTZR gives no token: {tokens.failing}" if tokens.failing else ""


def _spent(governor: Governor[Session]) -> str:
    return "RTZR's quota is spent" if governor.counters.spent else ""


def _away(tokens: Tokens, governor: Governor[Session]) -> str:
    """With the token of an hour ago nobody is heard either."""
    return "" if tokens.failing or not governor.away else f"RTZR gives no session: {governor.away}"


def unwritten(sinks: Sequence[QueuedSink]) -> str:
    """As of `Asked`."""
    names = ", ".join(sink.name for sink in sinks if sink.failing)
    return f"events are not written: {names}" if names else ""
