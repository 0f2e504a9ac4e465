"""bridge/wire/knownbad.py: versions as Asterisk writes them, and what is told of each."""

import pytest

from bridge.wire import knownbad


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("22.10.1+dfsg+~cs6.17.60671434-1", (22, 10, 1)),
        ("20.6.0~dfsg+~cs6.13.40431414-2build5", (20, 6, 0)),
        ("certified/20.7-cert3", (20, 7, 0)),
        ("GIT-master-abc", None),
        ("", None),
    ],
)
def test_versions_are_read(text: str, number: knownbad.Version | None) -> None:
    assert knownbad.version(text) == number


@pytest.mark.parametrize(
    ("number", "issues"),
    [
        ((22, 10, 1), []),
        ((22, 10, 0), ["GHSA"]),
        ((22, 7, 0), ["#1638", "GHSA"]),
        ((20, 5, 2), ["#861", "#394", "#1638"]),
        ((18, 26, 4), []),
        ((23, 4, 0), []),
    ],
)
def test_each_branch_has_its_faults(number: knownbad.Version, issues: list[str]) -> None:
    told = knownbad.faults(number)
    assert len(told) == len(issues)
    assert all(issue in line and "mended in" in line for issue, line in zip(issues, told, strict=True))


def test_what_no_tap_can_live_in() -> None:
    assert knownbad.too_old((16, 30, 0))
    assert not knownbad.too_old((18, 0, 0))
