"""bridge/config/outlets.py: a name that leads nowhere is a fault, and so are two things at one path."""

from collections.abc import Callable
from pathlib import Path

import certifi
import pytest

from bridge.config import ConfigError, load

ENVIRON = {
    "RTZR_CLIENT_ID": "i",
    "RTZR_CLIENT_SECRET": "s",
    "ARI_PASSWORD": "p",
    "RTZR_FEED_TOKEN": "0123456789abcdef",
}
OUTBOX = "outbox: {path: /x/o.db}\n"

Told = Callable[[str], list[str]]


@pytest.fixture
def told(tmp_path: Path) -> Told:
    """The lines that a configuration is refused with, from the key on."""

    def refused(text: str) -> list[str]:
        file = tmp_path / "bridge.yaml"
        file.write_text(text)
        try:
            load(file, ENVIRON)
        except ConfigError as error:
            return [line.partition(": ")[2] for line in error.lines]
        return []

    return refused


@pytest.mark.parametrize("sinks", ["{}", "{redis: {url: 'redis://db', rules: [b]}}", "{redis: {rules: [a]}}"])
def test_an_outbox_out_of_which_nobody_takes_a_rules_calls_is_not_to_be_named(told: Told, sinks: str) -> None:
    (line,) = told(f"{OUTBOX}rules: [{{name: a, sinks: [outbox]}}, {{name: b}}]\nsinks: {sinks}")
    assert line.startswith("rules[0].sinks: names outbox, out of which nobody takes this rule's calls; give ")


def test_one_out_of_which_somebody_does_is(told: Told) -> None:
    for names, sinks in (
        ("outbox", "{redis: {url: 'redis://db'}}"),
        ("outbox", "{redis: {url: 'redis://db', rules: [a]}}"),
        ("outbox, feed", "{feed: {port: 8090}}"),
    ):
        assert told(f"{OUTBOX}rules: [{{name: a, sinks: [{names}]}}]\nsinks: {sinks}") == []


def test_an_endpoint_that_asks_for_what_is_left_out_is_told(told: Told) -> None:
    rules = "rules: [{name: a, sinks: [console]}, {name: b}]"
    (line,) = told(f"{OUTBOX}{rules}\nsinks: {{redis: {{url: 'redis://db', rules: [a, b]}}}}")
    assert line.startswith("sinks.redis.rules: names a rule whose sinks leave out the outbox, so nothing ")
    assert told(f"{OUTBOX}{rules}\nsinks: {{redis: {{url: 'redis://db', rules: [b]}}}}") == []


@pytest.mark.parametrize(
    ("text", "key", "other"),
    [
        ("outbox: {path: /x/a}\nsinks: {jsonl: {path: /x/../x//a}}", "outbox.path", "sinks.jsonl.path"),
        (
            "outbox: {path: /x/a.1}\nsinks: {jsonl: {path: /x/a, max_mb: 1}}",
            "outbox.path",
            "sinks.jsonl.path",
        ),
        ("outbox: {path: /x/a}\nadmin: {socket: /x/a-wal}", "outbox.path", "admin.socket"),
        ("outbox: {path: /x/a}\nspool: {folder: /x/a}", "outbox.path", "spool.folder"),
        ("admin: {socket: /x/a}\nsinks: {jsonl: {path: /x/a.lock}}", "admin.socket", "sinks.jsonl.path"),
    ],
)
def test_two_things_at_one_path_are_a_fault(told: Told, text: str, key: str, other: str) -> None:
    assert told(text) == [f"{key}: is where {other} is, or what is kept beside it; give another"]


def test_what_is_only_read_may_be_read_twice_and_written_by_nobody(told: Told) -> None:
    file = certifi.where()
    read = f"rtzr: {{ca_file: {file}}}\n{OUTBOX}sinks: {{redis: {{ca_file: {file}}}"
    assert told(read + "}") == []
    (line,) = told(f"{read}, jsonl: {{path: {file}}}}}")
    assert line.startswith("sinks.jsonl.path: is where ")


def test_where_the_calls_of_a_rule_go_is_known_of_those_that_are_there(tmp_path: Path) -> None:
    file = tmp_path / "bridge.yaml"
    known = {}
    for sinks in ("", ", sinks: [console]"):
        file.write_text(f"rules: [{{name: a{sinks}}}, {{name: b}}]")
        config = load(file, ENVIRON)
        known[sinks] = [rule for rule in ("a", "b", "", "gone", None) if config.knows_sinks_of(rule)]
    assert known == {"": ["a", "b", "", None], ", sinks: [console]": ["a", "b", ""]}
