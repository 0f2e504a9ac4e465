"""What `make docs` writes is as it would be written now; every YAML of ours names its schema, and fits it."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from bridge.config import Config
from bridge.schema.told import every_section, texts
from bridge.schema.written import PAGE, SCHEMA, YAML, commented, written

ROOT = Path(__file__).parents[2]
OURS = sorted([*(ROOT / "config").rglob("*.yaml"), *(ROOT / "docker").glob("bridge*.yaml")])


@pytest.mark.parametrize("path", written(ROOT), ids=str)
def test_nothing_is_stale(path: Path) -> None:
    assert (ROOT / path).read_text(encoding="utf-8") == written(ROOT)[path], f"{path} is stale: make docs"


def test_a_changed_comment_is_written_anew_and_nothing_else() -> None:
    text = (ROOT / YAML).read_text(encoding="utf-8")
    line = next(line for line in text.splitlines() if line.startswith("  silence_ms"))
    assert commented(text.replace(line, "  silence_ms: 400  # something else")) == text


def test_every_key_has_its_text() -> None:
    for model in every_section(Config):
        assert {name for name in model.model_fields if not texts(model).get(name)} == set(), model


@pytest.mark.parametrize("model", dict.fromkeys(every_section(Config)))
def test_the_page_has_every_key_of_every_section(model: type[Any]) -> None:
    page = (ROOT / PAGE).read_text(encoding="utf-8")
    for name in model.model_fields:
        assert f"| `{name}` |" in page or re.search(rf"^##+ (.*\.)?{name}$", page, re.MULTILINE)


def schema_of(file: Path) -> Any:
    """What the editor's first line leads to."""
    named = re.match(r"# yaml-language-server: \$schema=(\S+)\n", file.read_text(encoding="utf-8"))
    assert named, f"{file} names no schema in its first line"
    return json.loads((file.parent / named[1]).read_text(encoding="utf-8"))


@pytest.mark.parametrize("file", OURS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_yaml_names_the_schema_and_fits_it(file: Path) -> None:
    schema = schema_of(file)
    assert schema == json.loads((ROOT / SCHEMA).read_text(encoding="utf-8"))
    Draft202012Validator(schema).validate(yaml.safe_load(file.read_text(encoding="utf-8")))


@pytest.mark.parametrize(
    ("ours", "spoilt"),
    [
        ("silence_ms: 400", "silense_ms: 400"),
        ("mode: hybrid", "mode: hybird"),
        ("silence_ms: 400", "silence_ms: 100"),
        ("silence_ms: 400", "silence_ms: '400'"),
        ("\nworkers: 1", "\nworkers: many"),
        ("rules: []", "rules: [{match: {did: '1'}}]"),
        ("rules: []", "rules: [{name: a, match: {variables: {'a b': x}}}]"),
        ("webhooks: []", "webhooks: [{name: crm, url: 'https://crm.example', secret: x}]"),
        ("metrics:\n", "metric:\n"),
    ],
)
def test_an_editor_marks_what_is_wrong(ours: str, spoilt: str) -> None:
    file = ROOT / YAML
    text = file.read_text(encoding="utf-8")
    assert ours in text
    assert not Draft202012Validator(schema_of(file)).is_valid(yaml.safe_load(text.replace(ours, spoilt, 1)))
