"""From whatever is wrong with a configuration to one plain line each: `FILE:LINE: key.path: what; mend`.

No model of ours is named here, and no value of the document ever enters a line.
"""

import difflib
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails, PydanticCustomError

from bridge.config.yamltree import Fault, Place, Tree, shown
from bridge.credentials import VARIABLES, looks_secret

Model = TypeVar("Model", bound=BaseModel)


class ConfigError(ValueError):
    """The configuration cannot be used; the text is one line a fault."""

    def __init__(self, lines: list[str]) -> None:
        super().__init__("\n".join(lines))
        self.lines = lines


@dataclass(frozen=True, slots=True)
class Rule:
    """What must hold between keys."""

    holds: bool
    keys: tuple[str, ...]
    """Dotted, seen from the model that states the rule; the first is the one that is said to be wrong."""
    text: str

    def places(self, at: Place) -> list[Place]:
        """Where the keys stand in the document, the model standing at `at`."""
        return [(*at, *map(_step, key.split("."))) for key in self.keys]


def _step(part: str) -> str | int:
    return int(part) if part.isdigit() else part  # the place in a list


def keep(model: Model, *rules: Rule) -> Model:
    """`model`, if every rule holds. For validators: raises the error that `faults_of` takes apart."""
    broken = [rule for rule in rules if not rule.holds]
    if broken:
        text = "; ".join(f"{rule.keys[0]} {rule.text}" for rule in broken)
        raise PydanticCustomError("rules", "{text}", {"text": text, "broken": broken})
    return model


def refuse(text: str, *args: object) -> PydanticCustomError:
    """The error for a validator to raise: `text` with `args` in its braces. Never give it a value."""
    return PydanticCustomError("refused", "{text}", {"text": text.format(*args)})


def line_of(file: Path, fault: Fault) -> str:
    """One line for an administrator."""
    place = [str(file) if fault.line is None else f"{file}:{fault.line}", shown(fault.path), fault.text]
    return ": ".join(part for part in place if part)


def secret_keys(tree: Tree) -> list[Fault]:
    """A fault for every key that would hold a secret in clear."""
    return [
        Fault(path, f"is a secret, and none is read from this file; take it out and set {_way(path)}", line)
        for path, line in tree.lines.items()
        if _secret_at(path) == len(path) - 1
    ]


def _way(path: Place) -> str:
    """The environment variable for the secret at `path`; all of them where its name does not tell."""
    if "webhooks" in path:
        return "the environment variable that secret_env names"
    key = str(path[-1]).lower()
    fitting = [variable for name, variable in VARIABLES.items() if key in (name, variable.lower())]
    return f"{' or '.join(fitting or VARIABLES.values())}, or the same with _FILE, in the environment"


def beneath_secret(path: Place) -> bool:
    """Whether `path` stands inside what a secret-looking key holds, where even keys may be the secret."""
    depth = _secret_at(path)
    return depth is not None and depth < len(path) - 1


def _secret_at(path: Place) -> int | None:
    return next((i for i, part in enumerate(path) if isinstance(part, str) and looks_secret(part)), None)


def without(value: Any, paths: Collection[Place]) -> Any:
    """A copy of `value` without what stands at `paths`."""
    return _without(value, frozenset(paths), ())


def _without(value: Any, paths: frozenset[Place], at: Place) -> Any:
    if isinstance(value, dict):
        return {
            key: _without(child, paths, (*at, key)) for key, child in value.items() if (*at, key) not in paths
        }
    if isinstance(value, list):
        # Positions are part of later paths, so a list with a bad item goes whole.
        inside = [(*at, index) for index in range(len(value))]
        return (
            [] if paths.intersection(inside) else [_without(v, paths, (*at, i)) for i, v in enumerate(value)]
        )
    return value


def faults_of(
    error: ValidationError, model: type[BaseModel], tree: Tree, known: Collection[Place]
) -> tuple[list[Fault], set[Place]]:
    """Pydantic's faults, and every place they touch; a rule that touches a `known` place is left out."""
    faults: list[Fault] = []
    touched: set[Place] = set()
    for detail in error.errors(include_url=False, include_input=False):
        path: Place = detail["loc"]
        if path in known:
            continue  # it was taken out for what is said of it already: it is not missing
        if detail["type"] != "rules":
            faults.append(Fault(path, _text(detail, model), tree.line(path)))
            touched.add(path)
            continue
        for rule in detail["ctx"]["broken"]:
            places = rule.places(path)
            if not touched.union(known).intersection(places):
                faults.append(Fault(places[0], rule.text, _line(tree, places)))
                touched.update(places)
    return faults, touched


def _line(tree: Tree, places: list[Place]) -> int | None:
    """The line of the first of `places` that stands in the document."""
    return next((tree.lines[place] for place in places if place in tree.lines), None)


def _text(detail: ErrorDetails, model: type[BaseModel]) -> str:
    kind, ctx = detail["type"], detail.get("ctx", {})
    if kind == "extra_forbidden":
        return _unknown(detail["loc"], model)
    if kind in _TEXTS:
        return _TEXTS[kind](ctx)
    return f"cannot be used ({kind}); see config/bridge.yaml for what it may be"


_TEXTS: dict[str, Callable[[dict[str, Any]], str]] = {
    "refused": lambda ctx: str(ctx["text"]),
    "missing": lambda _: "is missing; give it",
    "string_type": lambda _: "must be text; put it in quotes",
    "string_too_short": lambda _: "is empty; write something, or null",
    "string_pattern_mismatch": lambda _: "is no name; use letters, digits and . _ - only",
    "bool_type": lambda _: "must be a yes or no; write true or false",
    "int_type": lambda _: "must be a whole number; write digits alone, without quotes or unit",
    "int_from_float": lambda _: "must be a whole number; write digits alone, without quotes or unit",
    "float_type": lambda _: "must be a number; write digits alone, without quotes or unit",
    "finite_number": lambda _: "must be a finite number; write digits alone",
    "greater_than": lambda ctx: f"is too small; give more than {ctx['gt']:g}",
    "greater_than_equal": lambda ctx: f"is too small; give {ctx['ge']:g} or more",
    "less_than": lambda ctx: f"is too big; give less than {ctx['lt']:g}",
    "less_than_equal": lambda ctx: f"is too big; give {ctx['le']:g} or less",
    "literal_error": lambda ctx: f"is not one of its choices; write {ctx['expected']}",
    "tuple_type": lambda _: "must be a list; write '- item' lines, or [] for none",
    "too_long": lambda ctx: f"has too many items; give {ctx['max_length']} or fewer",
    "model_type": lambda _: "must be a section; write 'key: value' lines under it",
}


def _unknown(path: Place, model: type[BaseModel]) -> str:
    """What to say of a key that is none of ours: the nearest name, or where a key by that name belongs."""
    key = str(path[-1])
    here = model
    for part in path[:-1]:
        here = _section(here, str(part), lists=True) or here
    near = difflib.get_close_matches(key, list(here.model_fields), n=1)
    if near:
        return f"is not a key; did you mean {near[0]}?"
    elsewhere = [shown(place) for place in _keys(model, ()) if place[-1] == key]
    if elsewhere:
        return f"is not a key here; did you mean {' or '.join(elsewhere)}?"
    return f"is not a key; the keys here are {', '.join(here.model_fields)}"


def _section(model: type[BaseModel], key: str, *, lists: bool = False) -> type[BaseModel] | None:
    """The model of the section `key`; with `lists`, of a list of sections that of each."""
    field = model.model_fields.get(key)
    kind = None if field is None else field.annotation
    if lists and get_origin(kind) is tuple:
        kind = get_args(kind)[0]
    return kind if isinstance(kind, type) and issubclass(kind, BaseModel) else None


def _keys(model: type[BaseModel], at: Place) -> Iterator[Place]:
    for key in model.model_fields:
        yield (*at, key)
        inner = _section(model, key)
        if inner is not None:
            yield from _keys(inner, (*at, key))
