"""Validation for the tests: a published schema with every object closed, so that nothing goes untold."""

from typing import Any

from jsonschema import Draft202012Validator


def closed(schema: Any) -> Any:
    """A copy in which no object has a key that is not told."""
    if isinstance(schema, list):
        return [closed(value) for value in schema]
    if not isinstance(schema, dict):
        return schema
    found = {name: closed(value) for name, value in schema.items()}
    return found | {"additionalProperties": False} if isinstance(found.get("properties"), dict) else found


def faults(document: Any, name: str, value: Any) -> list[str]:
    """What is wrong with `value` by the closed definition `name` of a document."""
    schema = closed({"$ref": f"#/$defs/{name}", "$defs": document["$defs"]})
    checker = Draft202012Validator(schema, format_checker=Draft202012Validator.FORMAT_CHECKER)
    return [f"{error.json_path}: {error.message}" for error in checker.iter_errors(value)]


def references(schema: Any) -> set[str]:
    """Every `$ref` in it."""
    if isinstance(schema, list):
        return {found for value in schema for found in references(value)}
    if not isinstance(schema, dict):
        return set()
    own = {schema["$ref"]} if isinstance(schema.get("$ref"), str) else set()
    return own.union(*(references(value) for value in schema.values())) if schema else own


def resolved(document: Any, reference: str) -> Any:
    """What a `$ref` leads to. Raises KeyError."""
    assert reference.startswith("#/")
    found = document
    for step in reference[2:].split("/"):
        found = found[step]
    return found
