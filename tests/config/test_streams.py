"""bridge/config/: where the Redis streams are, how the file is rotated, and that no password is there."""

from pathlib import Path

import pytest

from bridge.config import Config, ConfigError, load
from bridge.config.redis import RedisStream
from bridge.config.sinks import Jsonl
from bridge.delivery.endpoints import build_redis, rules_of_redis
from bridge.net.redisstream import RedisSettings

OUTBOX = "{outbox: {path: /x/outbox.db}"
ENVIRON = {"RTZR_CLIENT_ID": "i", "RTZR_CLIENT_SECRET": "s", "ARI_PASSWORD": "p", "CRM_REDIS": "hunter2"}


def read(tmp_path: Path, text: str, environ: dict[str, str] = ENVIRON, *, rtzr: bool = True) -> Config:
    file = tmp_path / "bridge.yaml"
    file.write_text(text, encoding="utf-8")
    return load(file, environ, rtzr=rtzr)


def faults(tmp_path: Path, text: str, environ: dict[str, str] = ENVIRON) -> list[str]:
    with pytest.raises(ConfigError) as error:
        read(tmp_path, text, environ)
    assert "hunter2" not in str(error.value)
    return [line.removeprefix(f"{tmp_path}/bridge.yaml:1: ") for line in error.value.lines]


@pytest.mark.parametrize(
    "url",
    ["redis://127.0.0.1", "redis://db:6379/0", "rediss://db.lan:6380/12", "unix:///run/redis/redis.sock"],
)
def test_a_url_turns_it_on(tmp_path: Path, url: str) -> None:
    config = read(tmp_path, f"{OUTBOX}, sinks: {{redis: {{url: '{url}'}}}}}}")
    assert config.sinks.redis == RedisStream(url=url)
    assert Config().sinks.redis.url is None


@pytest.mark.parametrize(
    "url",
    [
        "http://db",
        "redis://",
        "redis:db",
        "redis://db/name",
        "unix://db/x",
        "unix:///a b",
        "redis://db:99999",
    ],
)
def test_what_is_no_url_of_redis_is_told(tmp_path: Path, url: str) -> None:
    (line,) = faults(tmp_path, f"sinks: {{redis: {{url: '{url}'}}}}")
    assert line.startswith("sinks.redis.url: is not ")
    assert "write" in line


@pytest.mark.parametrize("url", ["redis://:hunter2@db", "redis://db?password=hunter2", "unix:///s#hunter2"])
def test_a_url_with_a_password_is_refused_and_not_repeated(tmp_path: Path, url: str) -> None:
    assert faults(tmp_path, f"sinks: {{redis: {{url: '{url}'}}}}") == [
        "sinks.redis.url: carries a user, a password or a query; give username and password_env instead"
    ]


@pytest.mark.parametrize("stream", ["rtzr:events", "rtzr:{rule}", "{rule}", "a.b/c-d", "{rule}:{rule}"])
def test_names_of_streams(tmp_path: Path, stream: str) -> None:
    assert read(tmp_path, f"sinks: {{redis: {{stream: '{stream}'}}}}").sinks.redis.stream == stream


@pytest.mark.parametrize("stream", ["", "a b", "{call}", "{", "rtzr:{rule", "a\tb", "x" * 201])
def test_what_is_no_name_of_a_stream_is_told(tmp_path: Path, stream: str) -> None:
    (line,) = faults(tmp_path, f"sinks: {{redis: {{stream: '{stream}'}}}}")
    mend = "use letters, digits, signs, and {rule} for the name of the rule"
    assert line == f"sinks.redis.stream: is no stream's name; {mend}"


def test_it_needs_the_outbox(tmp_path: Path) -> None:
    (line,) = faults(tmp_path, "sinks: {redis: {url: redis://db}}")
    assert "outbox.path: is missing: events wait there until Redis has them; give a file" in line


def test_only_calls_of_rules_that_there_are(tmp_path: Path) -> None:
    text = f"{OUTBOX}, rules: [{{name: a}}], sinks: {{redis: {{url: 'redis://db', rules: [RULE]}}}}}}"
    config = read(tmp_path, text.replace("RULE", "a"))
    assert rules_of_redis(config) == {"redis": frozenset({"a"})}
    assert rules_of_redis(Config()) == {}
    (line,) = faults(tmp_path, text.replace("RULE", "b"))
    assert line.startswith("sinks.redis.rules: names a rule that is not there; ")


ON = f"{OUTBOX}, sinks: {{redis: {{url: 'redis://db', password_env: CRM_REDIS}}}}}}"


class TestPassword:
    def test_comes_from_the_variable_that_is_named(self, tmp_path: Path) -> None:
        assert read(tmp_path, ON).secrets.named["CRM_REDIS"] == "hunter2"

    def test_or_from_a_file(self, tmp_path: Path) -> None:
        file = tmp_path / "secret"
        file.write_text("hunter3\n")
        environ = {**ENVIRON, "CRM_REDIS": "", "CRM_REDIS_FILE": str(file)}
        assert read(tmp_path, ON, environ).secrets.named["CRM_REDIS"] == "hunter3"

    def test_that_is_not_there_is_told(self, tmp_path: Path) -> None:
        (line,) = faults(tmp_path, ON, {**ENVIRON, "CRM_REDIS": ""})
        assert line.startswith("environment: CRM_REDIS: is not set; ")

    @pytest.mark.parametrize(
        "text",
        ["sinks: {redis: {password_env: CRM_REDIS}}", f"{OUTBOX}, sinks: {{redis: {{url: redis://db}}}}}}"],
    )
    def test_is_not_read_where_it_is_not_needed(self, tmp_path: Path, text: str) -> None:
        assert read(tmp_path, text, {**ENVIRON, "CRM_REDIS": ""}).secrets.named == {}

    def test_is_the_daemon_s_alone(self, tmp_path: Path) -> None:
        assert read(tmp_path, ON, ENVIRON, rtzr=False).secrets.named == {}

    def test_in_clear_is_refused_and_not_repeated(self, tmp_path: Path) -> None:
        (line,) = faults(tmp_path, "sinks: {redis: {password: hunter2}}")
        assert line.startswith("sinks.redis.password: is a secret, and none is read from this file")

    def test_in_the_place_of_its_variable_is_not_repeated(self, tmp_path: Path) -> None:
        (line,) = faults(tmp_path, "sinks: {redis: {password_env: 'hunter2!'}}")
        assert line.startswith("sinks.redis.password_env: is no name of an environment variable; ")


def test_a_file_is_rotated_and_synced_if_it_is_said(tmp_path: Path) -> None:
    config = read(tmp_path, "sinks: {jsonl: {path: /x, max_mb: 0.5, keep: 3, sync: batch}}")
    assert config.sinks.jsonl == Jsonl(path="/x", max_mb=0.5, keep=3, sync="batch")
    assert (Jsonl().max_mb, Jsonl().sync) == (0, "none")


@pytest.mark.parametrize("text", ["keep: 0", "max_mb: -1", "sync: often"])
def test_what_a_file_cannot_be_is_told(tmp_path: Path, text: str) -> None:
    (line,) = faults(tmp_path, f"sinks: {{jsonl: {{{text}}}}}")
    assert line.startswith(f"sinks.jsonl.{text.partition(':')[0]}: ")


def test_all_of_it_comes_to_the_sender(tmp_path: Path) -> None:
    keys = (
        "url: 'redis://db', username: crm, stream: '{rule}', maxlen: 7, timeout_s: 2, password_env: CRM_REDIS"
    )
    sender = build_redis(read(tmp_path, f"{OUTBOX}, sinks: {{redis: {{{keys}}}}}}}"))
    assert sender is not None
    assert sender._settings == RedisSettings("redis://db", "{rule}", 7, 2, "crm", "hunter2")
    assert build_redis(Config()) is None
