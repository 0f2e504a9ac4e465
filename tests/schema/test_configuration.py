"""bridge/schema/configuration.py: an editor complains of nothing that the daemon takes, and of most else."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from bridge.config import Config, ConfigError, load
from bridge.schema import configuration
from tests.config.test_config import TREES
from tests.schema.closed import references, resolved

ROOT = Path(__file__).parents[2]
ENVIRON = {"RTZR_CLIENT_ID": "i", "RTZR_CLIENT_SECRET": "s", "ARI_PASSWORD": "p", "ESL_PASSWORD": "e"}
DOCUMENT = configuration.document()
CHECKER = Draft202012Validator(DOCUMENT)


def test_the_document_is_a_schema_and_every_reference_leads_somewhere() -> None:
    Draft202012Validator.check_schema(DOCUMENT)
    for reference in references(DOCUMENT):
        assert resolved(DOCUMENT, reference)


def test_every_section_and_its_purpose_is_told() -> None:
    assert DOCUMENT["properties"].keys() == Config.model_fields.keys()
    assert [name for name, one in DOCUMENT["$defs"].items() if not one.get("description")] == []


def complaints(value: Any) -> list[str]:
    return [f"{error.json_path}: {error.message}" for error in CHECKER.iter_errors(value)]


@pytest.mark.parametrize("name", ["bridge.yaml", "bridge.dev.yaml"])
def test_the_files_that_are_shipped_pass(name: str) -> None:
    assert complaints(yaml.safe_load((ROOT / "config" / name).read_text())) == []


def examples() -> list[str]:
    """The YAML in the documentation."""
    pages = [*ROOT.glob("README*.md"), *sorted((ROOT / "docs").glob("*.md"))]
    found = [block for page in pages for block in re.findall(r"```yaml\n(.*?)```", page.read_text(), re.S)]
    assert found
    return found


@pytest.mark.parametrize("text", examples())
def test_what_the_documentation_shows_passes(text: str) -> None:
    assert complaints(yaml.safe_load(text)) == []


TAKEN = """
{}
gate:
rules: []
workers: auto
workers: 4
drain_s: 30
drain_s: 0.5
asterisk: {rtp_range: [10000, 20000]}
asterisk: {trunk_contexts: from-trunk}
asterisk: {trunk_contexts: [a, b]}
rtzr: {keywords: ['환불:2.0', 예약], noise_threshold: 0.5}
rules: [{name: 영업 1, match: {extension: '2000', direction: in}, sample: 10.5, tap: false}]
rules: [{name: a, match: {did: ['1', '2'], direction: [in, out], variables: {T: [x, y], U: z}}}]
rules: [{name: a, match: , gate: {mode: vad}, rtzr: {keywords: []}, sinks: [console]}]
cost: {won_per_h: [1, 2.5], up_to_h: [10]}
sinks: {jsonl: {path: /x, max_mb: 0.5, keep: 3, sync: batch}, console: }
sinks: {redis: {stream: 'a:{rule}', maxlen: 0, password_env: P}}
media: {bind: '::1', codec: alaw}
""".strip().splitlines()

REFUSED = """
[]
text
gates: {}
gate: []
gate: {mode: loud}
workers: 0
workers: all
drain_s: '30'
drain_s: true
asterisk: {rtp_range: [1, 2, 3]}
rules: {}
rules: [{tap: true}]
rules: [{name: 5}]
rules: [{name: a, match: {extension: 2000}}]
rules: [{name: a, match: {direction: up}}]
rules: [{name: a, sinks: [mail]}]
sinks: {jsonl: {keep: 0}}
sinks: {jsonl: {sync: often}}
sinks: {redis: {maxlen: 1.5}}
asterisk: {ari_password: x}
""".strip().splitlines()


def taken(file: Path, value: Any) -> bool:
    file.write_bytes(yaml.safe_dump(value, allow_unicode=True).encode("utf-8", "surrogatepass"))
    try:
        load(file, ENVIRON)
    except ConfigError:
        return False
    return True


@pytest.mark.parametrize("text", TAKEN)
def test_what_the_daemon_takes_passes(tmp_path: Path, text: str) -> None:
    value = yaml.safe_load(text)
    assert taken(tmp_path / "bridge.yaml", value)
    assert complaints(value) == []


@pytest.mark.parametrize("text", REFUSED)
def test_what_an_editor_can_see_is_told(tmp_path: Path, text: str) -> None:
    value = yaml.safe_load(text)
    assert not taken(tmp_path / "bridge.yaml", value)
    assert complaints(value) != []


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("schema") / "bridge.yaml"


@given(value=st.dictionaries(st.sampled_from([*Config.model_fields, "x"]), TREES, max_size=3))
def test_nothing_that_the_daemon_takes_is_complained_of(file: Path, value: dict[str, Any]) -> None:
    if taken(file, value):
        assert complaints(yaml.safe_load(file.read_bytes())) == []
