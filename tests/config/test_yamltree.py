"""bridge/config/yamltree.py: values, the line of each, and faults that quote no value."""

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from bridge.config.yamltree import Fault, parse, shown

TREES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text()),
    lambda inner: st.one_of(st.lists(inner), st.dictionaries(st.text(min_size=1), inner)),
    max_leaves=15,
)


@given(value=TREES)
def test_what_yaml_wrote_is_read_the_same(value: object) -> None:
    tree = parse(yaml.safe_dump(value))
    assert tree.faults == []
    assert tree.value == value


def test_lines_count_from_one_and_fall_back_to_what_is_around() -> None:
    tree = parse("a:\n  b: 1\n\n  c:\n  - x\n  -\n    y: 2\n")
    assert tree.value == {"a": {"b": 1, "c": ["x", {"y": 2}]}}
    assert tree.lines == {
        ("a",): 1,
        ("a", "b"): 2,
        ("a", "c"): 4,
        ("a", "c", 0): 5,
        ("a", "c", 1): 7,
        ("a", "c", 1, "y"): 7,
    }
    assert tree.line(("a", "c", 1, "y", "z")) == 7
    assert tree.line(("a", "zz")) == 1
    assert tree.line(("zz",)) is None


def test_the_first_of_two_keys_stays() -> None:
    tree = parse("a: 1\na: 2\n")
    assert tree.value == {"a": 1}
    assert tree.faults == [Fault(("a",), "is given twice, first on line 1; keep one", 2)]


@pytest.mark.parametrize("text", ["2024-01-01", "2024-13-45", "!!timestamp 12"])
def test_a_date_is_text(text: str) -> None:
    assert parse(f"a: {text}").value == {"a": text.split()[-1]}


@pytest.mark.parametrize(
    "text", ["*hunter2", "!hunter2!x 1", '"\\hunter2"', "%hunter2", "@hunter2", "'hunter2"]
)
def test_a_syntax_error_quotes_nothing(text: str) -> None:
    (fault,) = parse(f"a: {text}").faults
    assert "hunter2" not in fault.text
    assert fault.line == 1


def test_an_alias_is_refused_and_read_once() -> None:
    tree = parse("a: &a [1]\nb: *a\nc: &c [*c]\n")
    assert tree.value == {"a": [1], "b": None, "c": [None]}
    assert [fault.path for fault in tree.faults] == [("b",), ("c", 0)]


def test_places_are_shown_as_written_and_odd_keys_are_hidden() -> None:
    assert shown(("rtzr", "keywords", 3)) == "rtzr.keywords[3]"
    assert shown(("rtzr", "a b", "x")) == "rtzr.(odd key).x"
    assert shown(("x" * 61,)) == "(odd key)"
    assert shown(()) == ""
