"""bridge/groups.py: which error a group is told by."""

from bridge.groups import first_of


def test_the_first_of_a_group_is_found_however_deep_it_lies() -> None:
    first = OSError("first")
    assert (
        first_of(ExceptionGroup("all", [ExceptionGroup("some", [first, ValueError()]), KeyError()])) is first
    )
    assert first_of(first) is first
