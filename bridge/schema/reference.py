"""`docs/configuration.md`: every key of the YAML and every secret, out of the models and their schema.

What a key is for is read by `told`, what a reload makes of it by `bridge.reload.changes`; here is how that
looks on a page.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from bridge.credentials import VARIABLES
from bridge.reload.changes import RESTART, effect_of
from bridge.schema import configuration
from bridge.schema.shapes import Schema

_UNITS = {
    "_ms": "ms",
    "_s": "s",
    "_mb": "MB",
    "_days": "days",
    "won_per_h": "won",
    "up_to_h": "h",
    "epd_time": "s",
    "max_utter_duration": "s",
    "sample": "%",
}
"""By how a key ends."""
_SECRETS = {
    "RTZR_CLIENT_ID": ("RTZR's client id", "always"),
    "RTZR_CLIENT_SECRET": ("the client secret that belongs to it", "always"),
    "ARI_PASSWORD": ("the password in `ari.conf`", "`pbx: asterisk`, `via: ari`"),
    "AMI_SECRET": ("the secret in `manager.conf`", "`pbx: asterisk`, `via: ami`"),
    "ESL_PASSWORD": ("the password in `event_socket.conf.xml`", "`pbx: freeswitch`"),
}
_HEAD = """\
# Configuration

<!-- Written by `make docs` from the models in bridge/config: change a text there. -->

One YAML file, `/etc/rtzr-bridge/bridge.yaml` unless `--config` names another. Every key may be left out,
and so may sections; [config/bridge.yaml](../config/bridge.yaml) has them all at their defaults. A key that
is not known is a fault. `rtzr-bridge check` tells of every fault by its line, and tries what the file leads
to.

Editors that have yaml-language-server (VS Code's YAML, Neovim, Emacs, ...) complete keys and values, show
what is said here, and mark what is wrong. They know the file by its first line, with the path from it to
[bridge.schema.json](../config/bridge.schema.json), which `rtzr-bridge schema config` prints:

```text
# yaml-language-server: $schema=./bridge.schema.json
```

**Reload** is what [`rtzr-bridge reload`](reload.md) or SIGHUP makes of a change: it holds for *new calls*,
*at once*, or after a *restart*.
"""
_SECRETS_HEAD = """\
## Secrets

None is read from the YAML. Each is in an environment variable or, where the same name with `_FILE` is set
instead, in the file whose full path that holds (`RTZR_CLIENT_SECRET_FILE=/run/secrets/rtzr`). Both at once
is a fault. With systemd: [install.md](install.md).

| Variable | What it holds | Needed with |
|---|---|---|
"""
_ROW = "| Key | Values | Default | Reload | What for |\n|---|---|---|---|---|"


def page() -> str:
    """The whole of it."""
    schema = configuration.document()
    parts = [_HEAD, _secrets(schema)]
    for name, one in schema["properties"].items():
        if _inner(one) is None:
            parts.append(f"## {name}\n\n{_ROW}\n{_row(name, one, must=False)}\n")
        for section in _sections(name, one, schema):
            parts.extend(_of_section(section))
    return "\n".join(parts)


@dataclass(frozen=True, slots=True)
class _Part:
    """A section of the YAML: its dotted key, what holds it, and itself."""

    where: str
    holder: Schema
    schema: Schema

    @property
    def keys(self) -> dict[str, Schema]:
        """Those that are no sections with a heading of their own."""
        return {
            f"{self.where}.{name}": one
            for name, one in self.schema["properties"].items()
            if _inner(one) is None or _is_list(one)
        }


def _sections(where: str, one: Schema, schema: Schema) -> Iterator[_Part]:
    """The section that a key is, or that each item of its list is, and those in it."""
    name = _inner(one)
    if name is not None:
        part = _Part(where, one, schema["$defs"][name])
        yield part
        for key, inner in part.schema["properties"].items():
            yield from _sections(f"{where}.{key}", inner, schema)


def _inner(one: Schema) -> str | None:
    """The name of the section that a key holds, by itself or in a list."""
    choices = [one, one.get("items", {}), *one.get("anyOf", [])]
    return next((choice["$ref"].rpartition("/")[2] for choice in choices if "$ref" in choice), None)


def _is_list(one: Schema) -> bool:
    return one.get("type") == "array"


def _secrets(schema: Schema) -> str:
    rows = [(f"`{variable}`", *_SECRETS[variable]) for variable in VARIABLES.values()]
    for name, one in schema["properties"].items():
        for part in _sections(name, one, schema):
            rows += [
                _named(part.where, key, inner) for key, inner in part.keys.items() if key.endswith("_env")
            ]
    lines = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    return f"{_SECRETS_HEAD}{lines}\n"


def _named(where: str, key: str, one: Schema) -> tuple[str, str, str]:
    """A secret whose variable the YAML names."""
    default = one.get("default")
    on = "url" if where.endswith("redis") else "port"
    needed = "each webhook that names it" if where.endswith("webhooks") else f"`{where}.{on}`"
    holds = re.sub(r"^The environment variables? that holds? ", "", _text(one)).removesuffix(".")
    return f"`{default}`, or what `{key}` names" if default else f"what `{key}` names", holds, needed


def _of_section(part: _Part) -> Iterator[str]:
    told = " ".join(part.schema["description"].split())
    if _is_list(part.holder):
        told = f"{part.holder['description']} A list; of each item: {told[0].lower()}{told[1:]}"
    yield f"{'###' if '.' in part.where else '##'} {part.where}\n\n{_linked(told)}\n"
    must = part.schema.get("required", [])
    rows = [_row(key, one, must=key.rpartition(".")[2] in must) for key, one in part.keys.items()]
    if rows:
        yield "\n".join([_ROW, *rows]) + "\n"


def _row(key: str, one: Schema, *, must: bool) -> str:
    name = key.rpartition(".")[2]
    default = "must be given" if must else f"`{_yaml(one.get('default', {}))}`"
    reload = effect_of(key)
    cells = (f"`{name}`", _values(name, one), default, "restart" if reload == RESTART else reload, _text(one))
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _text(one: Schema) -> str:
    return _linked(one["description"])


def _linked(text: str) -> str:
    return re.sub(r"docs/([a-z]+\.md)", r"[\1](\1)", text)


def _yaml(value: Any) -> str:
    """As one writes it in YAML, on one line."""
    if isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False)


def _values(key: str, one: Schema) -> str:
    unit = next((unit for end, unit in _UNITS.items() if key.endswith(end)), "")
    return _kind(one, f" {unit}" if unit else "")


def _kind(one: Schema, unit: str) -> str:
    match one:
        case {"anyOf": choices}:
            return " or ".join(dict.fromkeys(_kind(choice, unit) for choice in choices))
        case {"enum": values}:
            return ", ".join(f"`{value}`" for value in values)
        case {"const": value}:
            return f"`{value}`"
        case {"patternProperties": names}:
            return "; ".join(f"NAME: {_kind(inner, unit)}" for inner in names.values())
        case {"$ref": _}:
            return "section"
        case {"type": "array"}:
            return f"list: {_kind(one['items'], unit)}"
        case {"type": "boolean"}:
            return "`true`, `false`"
        case {"type": "integer" | "number"}:
            return _range(one, unit)
        case {"type": "null"}:
            return "`null`"
    return str(one.get("title", "text"))


def _range(one: Schema, unit: str) -> str:
    """The bounds, and whether anything between whole numbers goes; all numbers here have bounds."""
    least = f"above {one['exclusiveMinimum']}" if "exclusiveMinimum" in one else f"{one['minimum']}"
    return f"{least} to {one['maximum']}{unit}{'' if one['type'] == 'integer' else ', with fractions'}"
