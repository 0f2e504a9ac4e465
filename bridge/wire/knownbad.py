"""Versions of Asterisk that are known to harm a call, a transcript or themselves, and what to do.

Pure. Sources: Asterisk's release notes, security advisories and issues (the numbers in the texts).
"""

import re
from typing import NamedTuple

_VERSION = re.compile(r"(\d+)\.(\d+)(?:\.(\d+))?")
_OLDEST = 18

Version = tuple[int, int, int]


class _Mended(NamedTuple):
    """A fault, and by branch the first version without it; a branch that is not here never had it."""

    what: str
    firsts: dict[int, Version]


_FAULTS = (
    _Mended("a spy on one direction crackles (#861)", {18: (18, 25, 0), 20: (20, 10, 0), 21: (21, 5, 0)}),
    _Mended(
        "RTP taps send ulaw, whatever is asked (#394)", {18: (18, 21, 0), 20: (20, 6, 0), 21: (21, 1, 0)}
    ),
    _Mended(
        "topics leak with every tap, until the log overflows after some 100,000 calls (#1638)",
        {20: (20, 18, 0), 22: (22, 8, 0), 23: (23, 2, 0)},
    ),
    _Mended("ARI requests can do more than their account may (GHSA-vrfp-mg3q-3959)", {22: (22, 10, 1)}),
)


def version(text: str) -> Version | None:
    """The number in what Asterisk calls itself: `22.10.1+dfsg+~cs6.17`, `certified-20.7-cert3`."""
    found = _VERSION.search(text)
    if found is None:
        return None
    major, minor, patch = found.groups()
    return int(major), int(minor), int(patch or 0)


def too_old(number: Version) -> bool:
    """Whether it lacks what any tap of ours needs."""
    return number[0] < _OLDEST


def faults(number: Version) -> list[str]:
    """What is wrong with this version, each with the first one in which it is mended."""
    told = []
    for what, firsts in _FAULTS:
        first = firsts.get(number[0])
        if first is not None and number < first:
            told.append(f"{what}; mended in {'.'.join(map(str, first))}")
    return told
