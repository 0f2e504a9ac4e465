"""bridge/wire/causes.py: known causes are told in words, others are left as they are."""

import pytest

from bridge.wire.causes import meaning


@pytest.mark.parametrize(
    ("cause", "words"),
    [
        ("cause 16", "hung up in the normal way"),
        ("cause 17", "busy"),
        ("cause 999", ""),
        ("cause ", ""),
        ("cause x", ""),
        ("cause ²", ""),
        ("16", ""),
        ("gone", ""),
    ],
)
def test_a_cause_is_told_in_words(cause: str, words: str) -> None:
    assert meaning(cause) == words
