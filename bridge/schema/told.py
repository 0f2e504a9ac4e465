"""What each key of the YAML is for: the docstrings that follow the fields of the models.

They are read out of the source only when a schema or a page is made, so that the daemon's start pays nothing.
"""

import ast
import inspect
import textwrap
from collections.abc import Iterator
from itertools import pairwise
from typing import Any, get_args

from bridge.config.choosing import GateChanges, RtzrChanges
from bridge.config.section import Section
from bridge.config.sections import Gate, Rtzr

_SAME_KEYS: dict[type[Section], type[Section]] = {GateChanges: Gate, RtzrChanges: Rtzr}
"""What a rule changes is told where it is changed."""


def texts(model: type[Section]) -> dict[str, str]:
    """Of each key of a section, one text; of a section in it, the class's own."""
    found = texts(_SAME_KEYS[model]) if model in _SAME_KEYS else {}
    for name, one in model.model_fields.items():
        for section in sections(one.annotation):
            found[name] = one_line(section.__doc__ or "")
    return {name: text for name, text in (found | _docstrings(model)).items() if name in model.model_fields}


def sections(annotation: Any) -> Iterator[type[Section]]:
    """The models that a type is made of."""
    if isinstance(annotation, type) and issubclass(annotation, Section):
        yield annotation
    for inner in get_args(annotation):
        yield from sections(inner)


def every_section(model: type[Section]) -> Iterator[type[Section]]:
    """It, and all that are in it."""
    yield model
    for one in model.model_fields.values():
        for section in sections(one.annotation):
            yield from every_section(section)


def one_line(text: str) -> str:
    return " ".join(text.split())


def _docstrings(model: type[Section]) -> dict[str, str]:
    [tree] = ast.parse(textwrap.dedent(inspect.getsource(model))).body
    found = {}
    for before, after in pairwise(tree.body if isinstance(tree, ast.ClassDef) else []):
        if isinstance(before, ast.AnnAssign) and isinstance(before.target, ast.Name):
            match after:
                case ast.Expr(value=ast.Constant(value=str(text))):
                    found[before.target.id] = one_line(text)
    return found
