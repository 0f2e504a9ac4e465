"""bridge/wording.py."""

from bridge.wording import counted


def test_one_is_one_and_all_else_are_several() -> None:
    assert [counted(number, "leg") for number in (0, 1, 2)] == ["0 legs", "1 leg", "2 legs"]
    assert [counted(number, "try", "tries") for number in (1, 2)] == ["1 try", "2 tries"]
