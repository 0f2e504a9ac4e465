"""The YAML as JSON Schema 2020-12, for editors: made from the models that read it.

What the daemon takes, this takes; the rules between keys, and within addresses and paths, are the daemon's
alone (`rtzr-bridge check`).
"""

from typing import Any

from bridge.config import Config
from bridge.schema.shapes import DIALECT, Schema


def document() -> Schema:
    """The whole of it."""
    made: Schema = _written(Config.model_json_schema())
    told = {"title": "Configuration of rtzr-bridge", "description": "bridge.yaml; every key may be left out."}
    return {"$schema": DIALECT, "$id": "urn:rtzr-bridge:schema:config"} | made | told


def _written(schema: Any) -> Any:
    """A copy with what YAML may say beside what the models hold: a section of which every key is commented
    out is null. Titles go: they only repeat the keys."""
    if isinstance(schema, list):
        return [_written(value) for value in schema]
    if not isinstance(schema, dict):
        return schema
    found = {name: _written(value) for name, value in schema.items() if not _is_title(name, value)}
    if "$ref" in found and "default" in found:
        rest = {name: value for name, value in found.items() if name not in ("$ref", "default")}
        return {"anyOf": [{"$ref": found["$ref"]}, {"type": "null"}], **rest}
    return found


def _is_title(name: str, value: object) -> bool:
    """Whether it is the annotation, and no key of ours by that name."""
    return name == "title" and isinstance(value, str)
