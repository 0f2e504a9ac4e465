"""tests/scale.py."""

import pytest

from tests import scale


def test_the_whole_at_scale_one_and_never_less_than_the_least(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scale, "SCALE", 1.0)
    assert scale.scaled(200) == 200
    monkeypatch.setattr(scale, "SCALE", 0.1)
    assert scale.scaled(200) == 20
    assert scale.scaled(3) == 1
    assert scale.scaled(3, least=2) == 2


def test_all_settings_at_scale_one_and_else_the_last(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scale, "SCALE", 1.0)
    assert scale.some(1, 2) == (1, 2)
    monkeypatch.setattr(scale, "SCALE", 0.1)
    assert scale.some(1, 2) == (2,)
