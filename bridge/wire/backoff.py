"""How long to wait before another try. Arithmetic only: who sleeps and what counts as a try is the caller's.

No library's: they wrap a call and try it again, and our connections are streams that fail after minutes of
success.
"""

_MAX_DOUBLINGS = 32
_SESSION_S, _LONGEST_SESSION_S, _LAST_SESSION_S = 0.25, 10.0, 2.0


def full_jitter(attempt: int, base_s: float, cap_s: float, random01: float) -> float:
    """Seconds to wait before try number `attempt` (0 is the first retry).

    Anywhere between none and the exponential bound, so that fifty clients of a restarted server do not come
    back together. `random01` is a random number in [0, 1). Source: AWS Architecture Blog, "Exponential
    Backoff And Jitter", "full jitter".
    """
    return random01 * min(cap_s, base_s * 2.0 ** min(attempt, _MAX_DOUBLINGS))


def session_retry_s(attempt: int, *, last: bool, random01: float) -> float:
    """Seconds before a leg asks RTZR for a session once more; `last`: after hang-up, when the time for tries
    is short."""
    return full_jitter(attempt, _SESSION_S, _LAST_SESSION_S if last else _LONGEST_SESSION_S, random01)
