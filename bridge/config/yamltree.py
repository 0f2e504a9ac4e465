"""A YAML document as plain values, with the line on which every key stands.

Knows YAML only: no key of ours, no model, no file. Nothing from the document's values ever enters a
fault's text, since a value may be a secret in the wrong place.
"""

import re
from collections.abc import Hashable, Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml

Place = tuple[str | int, ...]
"""Where a value stands: keys, and positions in lists."""

_PLAIN = {f"tag:yaml.org,2002:{name}" for name in ("str", "int", "float", "bool", "null")}
_TIMESTAMP = "tag:yaml.org,2002:timestamp"
_NAME = re.compile(r"[A-Za-z0-9_.-]{1,60}")
_TOKEN = re.compile(r"'(?:[\[\]{},:?-]|<[a-z ]{1,24}>)'")


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong: where, what, and how to mend it."""

    path: Place
    text: str
    line: int | None = None
    """Counted from 1; None when only the path is known."""


@dataclass(frozen=True, slots=True)
class Tree:
    """What a document says."""

    value: Any
    """Plain dicts, lists and scalars; None for an empty document."""
    lines: dict[Place, int]
    faults: list[Fault]

    def line(self, path: Place) -> int | None:
        """The line of `path`, or else of the nearest thing around it that stands in the document."""
        for end in range(len(path), 0, -1):
            if path[:end] in self.lines:
                return self.lines[path[:end]]
        return None


def parse(text: str) -> Tree:
    """Reads one YAML document. Never raises: what cannot be read is a fault and is left out of the value."""
    loader: yaml.SafeLoader | None = None
    try:
        loader = yaml.SafeLoader(text)
        node = loader.get_single_node()
        walk = _Walk(loader)
        value = None if node is None else walk.value(node, ())
        return Tree(value, walk.lines, walk.faults)
    except yaml.YAMLError as error:
        return Tree(None, {}, [_syntax(error)])
    except RecursionError:
        return Tree(None, {}, [Fault((), "is nested too deeply; take levels out")])
    except (ValueError, OverflowError):  # PyYAML lets these through from escapes such as "\U00110000"
        return Tree(None, {}, [Fault((), "is not YAML; check its escapes (\\x, \\u) and %YAML line")])
    finally:
        if loader is not None:
            loader.dispose()


def shown(path: Place) -> str:
    """`path` as one writes it, `rtzr.keywords[3]`; what is no name may be a value, and is hidden."""
    out = ""
    for part in path:
        if isinstance(part, int):
            out += f"[{part}]"
        else:
            out += ("." if out else "") + (part if _NAME.fullmatch(part) else "(odd key)")
    return out


def _syntax(error: yaml.YAMLError) -> Fault:
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    problem = getattr(error, "problem", None) or getattr(error, "reason", None) or "it cannot be read"
    # PyYAML quotes a piece of the text ('found undefined alias ...'), and that may be half a password. Its
    # own names of tokens are none: expected ',' or ']', but got '<stream end>'.
    harmless = str(problem)
    if re.search("[\"']", _TOKEN.sub("", harmless)):
        harmless = re.sub(r"""["'].*["']""", "(left out)", harmless, flags=re.DOTALL)
    line = None if mark is None else mark.line + 1
    return Fault((), f"is not YAML: {harmless}; check indentation, colons and quotes there", line)


@dataclass(slots=True)
class _Walk:
    """Turns nodes into values, each node once."""

    loader: yaml.SafeLoader
    lines: dict[Place, int] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)
    seen: set[int] = field(default_factory=set)

    def value(self, node: yaml.Node, path: Place) -> Any:
        if id(node) in self.seen:  # an alias may hold itself, or a billion copies
            self._fault(node, path, "is an alias (*name), which is not read here; write the value out")
            return None
        self.seen.add(id(node))
        if isinstance(node, yaml.MappingNode) and node.tag == self.loader.DEFAULT_MAPPING_TAG:
            return {key: self.value(child, (*path, key)) for key, child in self._pairs(node, path)}
        if isinstance(node, yaml.SequenceNode) and node.tag == self.loader.DEFAULT_SEQUENCE_TAG:
            return [self._item(child, (*path, index)) for index, child in enumerate(node.value)]
        return self._scalar(node, path)

    def _item(self, node: yaml.Node, path: Place) -> Any:
        self.lines[path] = node.start_mark.line + 1
        return self.value(node, path)

    def _pairs(self, node: yaml.MappingNode, path: Place) -> Iterator[tuple[str, yaml.Node]]:
        mine: dict[str, int] = {}
        for key, child in node.value:
            line = key.start_mark.line + 1
            if not isinstance(key, yaml.ScalarNode):
                self._fault(key, path, "holds a key that is not one word; write 'key: value' lines")
                continue
            name = str(key.value)
            if name in mine:
                text = f"is given twice, first on line {mine[name]}; keep one"
                self.faults.append(Fault((*path, name), text, line))
                continue
            mine[name] = self.lines[(*path, name)] = line
            yield name, child

    def _scalar(self, node: yaml.Node, path: Place) -> Hashable:
        if not isinstance(node, yaml.ScalarNode) or node.tag not in (*_PLAIN, _TIMESTAMP):
            self._fault(node, path, "has a YAML tag (!...), which is not read here; write the plain value")
            return None
        if node.tag == _TIMESTAMP:  # no key of a configuration is a date, so it is meant as text
            return str(node.value)
        try:
            value: Hashable = self.loader.construct_object(node)
        except (ValueError, LookupError, yaml.YAMLError):
            self._fault(node, path, "does not fit its YAML type; write the plain value, or put it in quotes")
            return None
        return value

    def _fault(self, node: yaml.Node, path: Place, text: str) -> None:
        self.faults.append(Fault(path, text, node.start_mark.line + 1))
