"""Knobs from a command line."""

import pytest

from bridge.emulator.knobs import DEFAULTS, Knobs, turned


def test_values_are_what_they_look_like() -> None:
    knobs = turned(DEFAULTS, ["mute=true", "cut_after_s=2.5", "close_code=1011", "eos=stay"])
    assert knobs == Knobs(mute=True, cut_after_s=2.5, close_code=1011, eos="stay")


@pytest.mark.parametrize(
    ("setting", "told"),
    [
        ("mutes=true", "mutes is no knob; the knobs are client_id"),
        ("mute", "give mute=VALUE"),
        ("mute=x", "mute: "),
    ],
)
def test_a_bad_setting_is_named_with_its_mend(setting: str, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        turned(DEFAULTS, [setting])
