"""The YAML as JSON Schema 2020-12, for editors: made from the models that read it.

What the daemon takes, this takes; the rules between keys, and within addresses and paths, are the daemon's
alone (`rtzr-bridge check`). What each key is for is read by `told`.
"""

from typing import Any

from pydantic.json_schema import GenerateJsonSchema

from bridge.config import Config
from bridge.schema.shapes import DIALECT, Schema
from bridge.schema.told import every_section, texts


class _Generator(GenerateJsonSchema):
    """Titles of keys go: they only repeat the keys. Those of types stay."""

    def field_title_should_be_set(self, schema: Any) -> bool:  # noqa: ARG002 - pydantic's signature
        return False


def document() -> Schema:
    """The whole of it."""
    made = Config.model_json_schema(schema_generator=_Generator)
    for model in every_section(Config):
        _tell(made if model is Config else made["$defs"][model.__name__], texts(model))
    whole: Schema = _written(made)
    told = {"title": "Configuration of rtzr-bridge", "description": "bridge.yaml; every key may be left out."}
    return {"$schema": DIALECT, "$id": "urn:rtzr-bridge:schema:config"} | whole | told


def _tell(section: Schema, told: dict[str, str]) -> None:
    section.pop("title", None)
    for name, one in section["properties"].items():
        one["description"] = told[name]


def _written(schema: Any) -> Any:
    """A copy with what YAML may say beside what the models hold: a section of which every key is commented
    out is null."""
    if isinstance(schema, list):
        return [_written(value) for value in schema]
    if not isinstance(schema, dict):
        return schema
    found = {name: _written(value) for name, value in schema.items()}
    if "$ref" in found and "default" in found:  # which default a section has, its keys say
        rest = {name: value for name, value in found.items() if name not in ("$ref", "default")}
        return {"anyOf": [{"$ref": found["$ref"]}, {"type": "null"}], **rest}
    if "patternProperties" in found:  # the daemon takes no other name
        found.setdefault("additionalProperties", False)
    return found
