"""How far this machine's clock is ahead of another's, where that one tells its time in whole seconds.

Pure. Who asks is `net.rtzr` (HTTP's `Date`) and the checks (the dialplan's `EPOCH`, FreeSWITCH's
`strepoch`).
"""

from email.utils import parsedate_to_datetime


def ahead_s(second: float, asked_s: float, answered_s: float) -> float:
    """By how many seconds, to half a second and half of what the answer took. Below 0: ours is behind.

    The other clock showed `second` at some moment between `asked_s` and `answered_s` (Unix seconds, by ours).
    """
    return (asked_s + answered_s) / 2 - (second + 0.5)


def of_date(header: str | None) -> float | None:
    """Unix seconds of HTTP's `Wed, 25 Nov 2026 15:40:48 GMT`; None for none, or for anything else."""
    try:
        return parsedate_to_datetime(header or "").timestamp()
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
