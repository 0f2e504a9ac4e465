"""bridge/config/: the defaults, and one line for whatever is wrong, which never repeats a secret."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import certifi
import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from bridge.config import Config, ConfigError, load
from bridge.config.choosing import Match
from bridge.config.sections import Media
from bridge.credentials import DEFAULT_PASSWORD, Secrets
from bridge.types import Codec

ROOT = Path(__file__).parents[2]
ENVIRON = {
    "RTZR_CLIENT_ID": "id-1",
    "RTZR_CLIENT_SECRET": "s3cr3t",
    "ARI_PASSWORD": "p4ss",
    "ESL_PASSWORD": "w0rd",
}

Check = Callable[..., list[str]]


@pytest.fixture
def config(tmp_path: Path) -> Callable[[str], Config]:
    """Reads a configuration from text."""

    def read(text: str) -> Config:
        file = tmp_path / "bridge.yaml"
        file.write_text(text)
        return load(file, ENVIRON)

    return read


@pytest.fixture
def faults(tmp_path: Path) -> Callable[..., list[str]]:
    """The lines that a configuration is refused with, `FILE` for the path of the file."""

    def refused(text: str | bytes, environ: dict[str, str] = ENVIRON) -> list[str]:
        file = tmp_path / "bridge.yaml"
        file.write_bytes(text.encode() if isinstance(text, str) else text)
        with pytest.raises(ConfigError) as error:
            load(file, environ)
        assert str(error.value).splitlines() == error.value.lines
        return [line.replace(str(file), "FILE") for line in error.value.lines]

    return refused


def keys(model: type[BaseModel], at: str = "") -> set[str]:
    """Every leaf of the models, dotted."""
    found: set[str] = set()
    for name, field in model.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            found |= keys(kind, f"{at}{name}.")
        else:
            found.add(at + name)
    return found


def leaves(value: dict[str, Any], at: str = "") -> set[str]:
    found: set[str] = set()
    for name, child in value.items():
        found |= leaves(child, f"{at}{name}.") if isinstance(child, dict) else {at + name}
    return found


class TestShippedFiles:
    def test_bridge_yaml_has_every_key_at_its_default(self) -> None:
        file = ROOT / "config" / "bridge.yaml"
        assert load(file, ENVIRON).model_dump() == Config().model_dump()
        assert leaves(yaml.safe_load(file.read_text())) == keys(Config)

    def test_bridge_yaml_tells_of_every_key_on_its_line(self) -> None:
        lines = (ROOT / "config" / "bridge.yaml").read_text().splitlines()
        values = [line for line in lines if line.strip() and not line.endswith(":") and line[0] != "#"]
        assert len(values) == len(keys(Config))
        assert [line for line in values if "  # " not in line] == []

    def test_bridge_dev_yaml_is_for_an_emulator_on_this_machine(self) -> None:
        dev = load(ROOT / "config" / "bridge.dev.yaml", ENVIRON)
        assert dev.rtzr.auth_url == "http://127.0.0.1:8600/v1/authenticate"
        assert dev.rtzr.stream_url == "ws://127.0.0.1:8600/v1/transcribe:streaming"


class TestValues:
    def test_what_is_given_replaces_the_default_and_nothing_else(
        self, config: Callable[[str], Config]
    ) -> None:
        given = config("gate: {mode: vad}\nrtzr:\n  keywords: [부스팅, '리턴 제로:3.5', 군자역:-5]\n")
        assert given.gate.mode == "vad"
        assert given.rtzr.keywords == ("부스팅", "리턴 제로:3.5", "군자역:-5")
        assert given.gate.silence_ms == 400
        assert given.media == Media()

    def test_an_empty_section_is_its_defaults(self, config: Callable[[str], Config]) -> None:
        assert config("gate:\nsinks:\n  jsonl:\n").model_dump() == Config().model_dump()

    def test_a_byte_order_mark_is_no_fault(self, config: Callable[[str], Config]) -> None:
        assert config("\ufeffdrain_s: 3\n").drain_s == 3

    def test_nothing_changes_afterwards(self) -> None:
        with pytest.raises(ValidationError):
            Config().gate.mode = "vad"

    def test_the_advertised_address_is_bind_unless_given(self, config: Callable[[str], Config]) -> None:
        assert config("media: {bind: 10.0.0.9}").media.advertised == "10.0.0.9"
        assert config("media: {bind: 0.0.0.0, advertise: bridge.lan}").media.advertised == "bridge.lan"

    def test_the_codec_is_the_shared_noun(self, config: Callable[[str], Config]) -> None:
        assert config("media: {codec: alaw}").media.encoding is Codec.ALAW

    @pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "127.9.9.9"])
    def test_plain_connections_are_for_this_machine(self, config: Callable[[str], Config], host: str) -> None:
        url = f"ws://{host}:8600/v1/transcribe:streaming"
        assert config(f"rtzr: {{stream_url: '{url}'}}").rtzr.stream_url == url

    def test_a_file_of_certificates(self, config: Callable[[str], Config]) -> None:
        assert config(f"rtzr: {{ca_file: '{certifi.where()}'}}").rtzr.ca_file == certifi.where()


ONE_FAULT = {
    # unknown keys
    "gaet: {}": "FILE:1: gaet: is not a key; did you mean gate?",
    "rtzr:\n  domian: CALL": "FILE:2: rtzr.domian: is not a key; did you mean domain?",
    "media:\n  silence_ms: 400": "FILE:2: media.silence_ms: is not a key here; did you mean gate.silence_ms?",
    "hangup:\n  zzz: 1": "FILE:2: hangup.zzz: is not a key; the keys here are drain_ms, outage_s",
    "sinks:\n  console:\n    colour: 1": (
        "FILE:3: sinks.console.colour: is not a key; the keys here are enabled, partials"
    ),
    "1: 2": (
        "FILE:1: 1: is not a key; the keys here are rtzr, pbx, asterisk, freeswitch, media, gate, hangup, "
        "quota, cost, spool, outbox, pause, rules, workers, overload, drain_s, sinks, page, admin, metrics, "
        "log"
    ),
    # does not go together
    "workers: 2\nasterisk:\n  transport: websocket_client": (
        "FILE:3: asterisk.transport: leads to one process, as a section of websocket_client.conf leads to "
        "one port; set workers: 1, or transport: websocket or audiosocket"
    ),
    "workers: 2\nmedia:\n  audiosocket_calls: true": (
        "FILE:3: media.audiosocket_calls: come to one process; set workers: 1, or leave it out"
    ),
    # given twice
    "gate:\n  mode: vad\n  mode: vad": "FILE:3: gate.mode: is given twice, first on line 2; keep one",
    "log: {}\ndrain_s: 1\nlog: {}": "FILE:3: log: is given twice, first on line 1; keep one",
    # wrong types
    "drain_s: soon": "FILE:1: drain_s: must be a number; write digits alone, without quotes or unit",
    "drain_s: '5'": "FILE:1: drain_s: must be a number; write digits alone, without quotes or unit",
    "drain_s: true": "FILE:1: drain_s: must be a number; write digits alone, without quotes or unit",
    "drain_s: .nan": "FILE:1: drain_s: must be a finite number; write digits alone",
    "gate: {start_ms: 60.5}": (
        "FILE:1: gate.start_ms: must be a whole number; write digits alone, without quotes or unit"
    ),
    "gate: {start_ms: null}": (
        "FILE:1: gate.start_ms: must be a whole number; write digits alone, without quotes or unit"
    ),
    "rtzr: {use_itn: 1}": "FILE:1: rtzr.use_itn: must be a yes or no; write true or false",
    "asterisk: {username: 1001}": "FILE:1: asterisk.username: must be text; put it in quotes",
    "rtzr: {keywords: 부스팅}": "FILE:1: rtzr.keywords: must be a list; write '- item' lines, or [] for none",
    "rtzr:\n  keywords:\n  - 가나\n  - 다라: 3": "FILE:4: rtzr.keywords[1]: must be text; put it in quotes",
    "gate: hybrid": "FILE:1: gate: must be a section; write 'key: value' lines under it",
    "- gate": "FILE:1: is not a mapping; write 'section:' and 'key: value' lines",
    "gate": "FILE:1: is not a mapping; write 'section:' and 'key: value' lines",
    # impossible values
    "outbox: {max_mb: 0}": "FILE:1: outbox.max_mb: is too small; give 1 or more",
    "outbox: {keep_days: 0}": "FILE:1: outbox.keep_days: is too small; give more than 0",
    "outbox: {sync: off}": "FILE:1: outbox.sync: is not one of its choices; write 'normal' or 'full'",
    "outbox: {path: ''}": "FILE:1: outbox.path: is empty; write something, or null",
    "gate: {mode: vda}": "FILE:1: gate.mode: is not one of its choices; write 'immediate', 'vad' or 'hybrid'",
    "log: {level: INFO}": (
        "FILE:1: log.level: is not one of its choices; write 'debug', 'info', 'warning' or 'error'"
    ),
    "media: {message_ms: 19}": "FILE:1: media.message_ms: is too small; give 20 or more",
    "media: {message_ms: 101}": "FILE:1: media.message_ms: is too big; give 100 or less",
    "rtzr: {epd_time: 0}": "FILE:1: rtzr.epd_time: is too small; give more than 0",
    "media: {ring_s: 4}": "FILE:1: media.ring_s: is too small; give 5 or more",
    "gate: {preroll_ms: -1}": "FILE:1: gate.preroll_ms: is too small; give 0 or more",
    "gate: {preroll_ms: 5001}": "FILE:1: gate.preroll_ms: is too big; give 5000 or less",
    "gate: {silence_ms: 179}": (
        "FILE:1: gate.silence_ms: is below 180: WebRTC VAD itself says speech for up to 160 ms after it has "
        "ended, so less cannot be told; give 180 or more"
    ),
    "asterisk: {app: 'a b'}": "FILE:1: asterisk.app: is no name; use letters, digits and . _ - only",
    "sinks: {jsonl: {path: ''}}": "FILE:1: sinks.jsonl.path: is empty; write something, or null",
    'sinks: {jsonl: {path: "a\\0"}}': (
        "FILE:1: sinks.jsonl.path: is no path; write one without control characters"
    ),
    "media: {bind: bridge.lan}": (
        "FILE:1: media.bind: is not an IP address; give one of this machine, or 0.0.0.0 for all"
    ),
    "media: {advertise: 0.0.0.0}": (
        "FILE:1: media.advertise: is no address that the PBX could send to; give this machine's own"
    ),
    "media: {advertise: 'a/b'}": (
        "FILE:1: media.advertise: is neither a host name nor an IP address; give the one the PBX reaches "
        "us by"
    ),
    # keywords
    "rtzr: {keywords: [hello]}": (
        "FILE:1: rtzr.keywords[0]: is not Hangul; write the word as it sounds, in whole syllables and single "
        "spaces"
    ),
    f"rtzr: {{keywords: [{'가' * 21}]}}": "FILE:1: rtzr.keywords[0]: is over 20 characters; shorten it",
    "rtzr: {keywords: [가:6]}": (
        "FILE:1: rtzr.keywords[0]: has a score that is no number from -5 to 5; write word:2.0"
    ),
    "rtzr: {keywords: ['가:']}": (
        "FILE:1: rtzr.keywords[0]: has a score that is no number from -5 to 5; write word:2.0"
    ),
    f"rtzr: {{keywords: [{', '.join(['가'] * 101)}]}}": (
        "FILE:1: rtzr.keywords: has too many items; give 100 or fewer"
    ),
    "rtzr:\n  keywords: [가]\n  model_name: sommers_ja": (
        "FILE:2: rtzr.keywords: are for model_name sommers_ko only; empty the list or change the model"
    ),
    # addresses
    "rtzr: {auth_url: 'http://rtzr.test/v1'}": (
        "FILE:1: rtzr.auth_url: would send credentials and calls unencrypted; use https://"
    ),
    "rtzr: {stream_url: 'ws://10.0.0.1/v1'}": (
        "FILE:1: rtzr.stream_url: would send credentials and calls unencrypted; use wss://"
    ),
    "rtzr: {stream_url: 'https://rtzr.test/v1'}": (
        "FILE:1: rtzr.stream_url: is not a URL of this kind; begin it with ws:// or wss://"
    ),
    "asterisk: {ari_url: 'ftp://pbx/ari'}": (
        "FILE:1: asterisk.ari_url: is not a URL of this kind; begin it with http:// or https://"
    ),
    "asterisk: {ari_url: 'http:///ari'}": (
        "FILE:1: asterisk.ari_url: is not a URL of this kind; begin it with http:// or https://"
    ),
    "asterisk: {ari_url: 'http://pbx:port/ari'}": (
        "FILE:1: asterisk.ari_url: is not a URL; write it as https://host:port/path"
    ),
    "rtzr: {proxy: 'socks5://proxy:1080'}": (
        "FILE:1: rtzr.proxy: is not a URL of this kind; begin it with http:// or https://"
    ),
    "rtzr: {ca_file: /no/such.pem}": (
        "FILE:1: rtzr.ca_file: cannot be read (No such file or directory); give the path of a PEM file"
    ),
    # between keys
    "media:\n  bind: 0.0.0.0": (
        "FILE:2: media.advertise: must be given when bind is every address; set it to the address the PBX "
        "sends audio to"
    ),
    "media:\n  bind: '::'\n  advertise: null": (
        "FILE:3: media.advertise: must be given when bind is every address; set it to the address the PBX "
        "sends audio to"
    ),
    "media:\n  last_port: 30000": (
        "FILE:2: media.first_port: is above last_port; swap the two or widen the range"
    ),
    "pbx: freeswitch\nmedia:\n  early_media: true": (
        "FILE:3: media.early_media: is not for FreeSWITCH: a stream before the answer costs the caller the "
        "ringback; set false"
    ),
    "pbx: freeswitch\nmedia:\n  audiosocket_calls: true": (
        "FILE:3: media.audiosocket_calls: is for Asterisk's AudioSocket application; leave it out"
    ),
    "pbx: freeswitch\nworkers: 3\nmedia:\n  websocket_port: 65534": (
        "FILE:4: media.websocket_port: leaves too few ports up to 65535: each worker has its own; give a "
        "lower one"
    ),
    "freeswitch:\n  media_tls_cert: /etc/cert.pem": (
        "FILE:2: freeswitch.media_tls_key: goes with media_tls_cert; give both for wss://, or neither for ws://"
    ),
    "gate:\n  silence_ms: 180": (
        "FILE:2: gate.hangover_ms: is longer than silence_ms, which ends the utterance; give silence_ms or "
        "less"
    ),
    "gate:\n  preroll_ms: 50": (
        "FILE:2: gate.preroll_ms: is shorter than start_ms, so utterances would lose their first sound; give "
        "start_ms or more"
    ),
    "gate:\n  min_speech_ms: 2000\n  max_utterance_ms: 2000": (
        "FILE:2: gate.min_speech_ms: is not shorter than max_utterance_ms; give less"
    ),
    "media:\n  ring_s: 12": (
        "FILE:2: media.ring_s: cannot hold one whole utterance, which a lost connection would need again; "
        "give more than gate.max_utterance_ms + gate.preroll_ms and than rtzr.max_utter_duration"
    ),
    # YAML itself
    "gate: [": (
        "FILE:1: is not YAML: expected the node content, but found '<stream end>'; check indentation, colons "
        "and quotes there"
    ),
    "rules: [{name: all}\n": (
        "FILE:2: is not YAML: expected ',' or ']', but got '<stream end>'; check indentation, colons and "
        "quotes there"
    ),
    "gate:\n  mode vad\n  silence_ms: 300\n": (
        "FILE:3: is not YAML: mapping values are not allowed here; check indentation, colons and quotes there"
    ),
    "gate: *secret-word\n": (
        "FILE:1: is not YAML: found undefined alias (left out); check indentation, colons and quotes there"
    ),
    "? [a, b]\n: 1": "FILE:1: holds a key that is not one word; write 'key: value' lines",
    "gate: {mode: !!python/name:os.system vad}": (
        "FILE:1: gate.mode: has a YAML tag (!...), which is not read here; write the plain value"
    ),
    "gate: !!set {vad}": "FILE:1: gate: has a YAML tag (!...), which is not read here; write the plain value",
    "gate: {start_ms: !!int x}": (
        "FILE:1: gate.start_ms: does not fit its YAML type; write the plain value, or put it in quotes"
    ),
    "rtzr: &a {proxy: *a}": (
        "FILE:1: rtzr.proxy: is an alias (*name), which is not read here; write the value out"
    ),
    "# nothing": "FILE: says nothing; begin with a copy of config/bridge.yaml",
    "": "FILE: says nothing; begin with a copy of config/bridge.yaml",
    "---\n...\n": "FILE: says nothing; begin with a copy of config/bridge.yaml",
}


@pytest.mark.parametrize(("text", "line"), ONE_FAULT.items())
def test_each_fault_is_one_line_with_its_place_and_mend(faults: Check, text: str, line: str) -> None:
    assert faults(text) == [line]


BESIDE_FREESWITCH = {**ENVIRON, "ESL_PASSWORD": "3sl"}
NO_IPV6 = (
    "is an IPv6 address, which FreeSWITCH's media modules take in no URL; give a host name or an IPv4 address"
)


class TestFreeSwitch:
    @pytest.mark.parametrize(
        ("media", "line"),
        [("{advertise: 'fd00::7'}", 2), ("{bind: '::', advertise: 'fd00::7'}", 2), ("{bind: '::1'}", 2)],
    )
    def test_streams_are_sent_to_no_ipv6_address(self, faults: Check, media: str, line: int) -> None:
        told = f"FILE:{line}: media.advertise: {NO_IPV6}"
        assert faults(f"pbx: freeswitch\nmedia: {media}\n", BESIDE_FREESWITCH) == [told]

    def test_an_ipv6_address_is_listened_on_by_name(self, tmp_path: Path) -> None:
        file = tmp_path / "bridge.yaml"
        file.write_text("pbx: freeswitch\nmedia: {bind: '::', advertise: bridge.lan}\n")
        assert load(file, BESIDE_FREESWITCH).media.advertised == "bridge.lan"

    @pytest.mark.parametrize(
        ("told", "fault"),
        [
            ("user_event: RTZR", ""),
            ("variable: T", ""),
            (
                "application: crm, user_event: T",
                "FILE:2: sinks.pbx.application: is for ARI, which FreeSWITCH does",
            ),
        ],
    )
    def test_what_can_be_told(self, tmp_path: Path, told: str, fault: str) -> None:
        file = tmp_path / "bridge.yaml"
        file.write_text(f"pbx: freeswitch\nsinks: {{pbx: {{{told}}}}}\n")
        try:
            load(file, BESIDE_FREESWITCH)
        except ConfigError as error:
            (line,) = error.lines
        else:
            line = ""
        assert line.replace(str(file), "FILE").startswith(fault)
        assert bool(line) == bool(fault)

    def test_what_only_asterisk_has_is_no_fault(self, tmp_path: Path) -> None:
        file = tmp_path / "bridge.yaml"
        file.write_text("pbx: freeswitch\nworkers: 2\nasterisk: {transport: websocket_client}\n")
        assert load(file, BESIDE_FREESWITCH).workers == 2

    def test_the_password_that_all_know_is_for_this_machine(self, faults: Check) -> None:
        far = "pbx: freeswitch\nfreeswitch: {esl_host: 192.0.2.9}\n"
        (line,) = faults(far, {**ENVIRON, "ESL_PASSWORD": "ClueCon"})
        assert line.startswith("environment: ESL_PASSWORD: is the one that every FreeSWITCH has at first")


class TestFiles:
    def test_not_there(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError) as error:
            load(tmp_path / "no.yaml", ENVIRON)
        told = "cannot be read (No such file or directory); give --config FILE"
        assert str(error.value) == f"{tmp_path / 'no.yaml'}: {told}"

    def test_a_folder(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match="cannot be read"):
            load(tmp_path, ENVIRON)

    def test_not_utf8(self, faults: Check) -> None:
        assert faults(b"log:\n  level: \xc0\xce\n") == ["FILE:2: is not UTF-8; save the file as UTF-8"]

    def test_too_big(self, faults: Check) -> None:
        assert faults(b"#" * (1 << 20) + b"\n") == [
            "FILE: is over 1 MiB, which no configuration is; give the YAML file"
        ]

    def test_too_deep(self, faults: Check) -> None:
        assert faults("[" * 5000) == ["FILE: is nested too deeply; take levels out"]

    def test_two_documents(self, faults: Check) -> None:
        (line,) = faults("drain_s: 1\n---\ndrain_s: 2")
        assert line.startswith("FILE:2: is not YAML")

    def test_a_billion_laughs(self, faults: Check) -> None:
        text = "a0: &a0 x\n" + "".join(
            f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 30)
        )
        assert any("is an alias" in line for line in faults(text))

    def test_a_file_that_is_no_certificate(self, faults: Check, tmp_path: Path) -> None:
        (tmp_path / "ca.pem").write_text("no\n")
        (line,) = faults(f"rtzr: {{ca_file: '{tmp_path / 'ca.pem'}'}}")
        assert line == "FILE:1: rtzr.ca_file: holds no PEM certificate; give a file of them"


class TestAllTogether:
    def test_every_fault_is_told_at_once_in_the_order_of_the_file(self, faults: Check) -> None:
        text = (
            "media:\n  first_port: 41500\n  codec: g729\n"
            "gate:\n  hangover_ms: 900\n  start_ms: x\n"
            "  mode: vad\n  mode: hybrid\n"
            "rtzr:\n  client_id: hunter2\n  keywords: [가, b, 다:9]\n"
            "drain_s: -1\n"
        )
        told = faults(text, environ={})
        assert [line.partition(": ")[2].partition(": ")[0] for line in told] == [
            "media.first_port",
            "media.codec",
            "gate.hangover_ms",
            "gate.start_ms",
            "gate.mode",
            "rtzr.client_id",
            "rtzr.keywords[1]",
            "rtzr.keywords[2]",
            "drain_s",
            "RTZR_CLIENT_ID",
            "RTZR_CLIENT_SECRET",
            "ARI_PASSWORD",
        ]

    def test_a_rule_keeps_quiet_about_keys_that_are_wrong_by_themselves(self, faults: Check) -> None:
        assert len(faults("media: {first_port: x, last_port: 2000}")) == 1
        assert len(faults("gate: {silence_ms: 100, hangover_ms: 300}")) == 1

    def test_a_rule_between_sections_is_told_beside_one_within(self, faults: Check) -> None:
        told = faults("media: {bind: 0.0.0.0, ring_s: 5}\ngate: {silence_ms: 180}\n")
        assert [line.split(": ")[1] for line in told] == [
            "media.advertise",
            "media.ring_s",
            "gate.hangover_ms",
        ]

    @pytest.mark.parametrize("text", [None, "rules: [\n", ""], ids=["gone", "no YAML", "empty"])
    def test_of_a_file_that_says_no_pbx_none_of_its_passwords_is_missed(
        self, tmp_path: Path, text: str | None
    ) -> None:
        file = tmp_path / "bridge.yaml"
        if text is not None:
            file.write_text(text)
        with pytest.raises(ConfigError) as error:
            load(file, BESIDE_FREESWITCH)
        assert len(error.value.lines) == 1

    def test_a_missing_file_does_not_hide_missing_secrets(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError) as error:
            load(tmp_path / "no.yaml", {})
        assert len(error.value.lines) == 4

    @pytest.mark.parametrize("text", ["audiosocket_port: 8787", "websocket_port: 9095"])
    def test_a_tcp_port_is_for_one_thing(self, text: str, faults: Check) -> None:
        (line,) = faults(f"workers: 4\nmedia: {{{text}}}")
        assert line.startswith("FILE:")
        assert "is one of AudioSocket's" in line
        assert line.endswith("give another")

    def test_models_hold_their_rules_without_a_file_too(self) -> None:
        with pytest.raises(ValidationError, match="first_port is above last_port"):
            Config.model_validate({"media": {"first_port": 50000}})


class TestSecrets:
    def test_from_the_environment(self, config: Callable[[str], Config]) -> None:
        assert config("drain_s: 1").secrets == Secrets("id-1", "s3cr3t", "p4ss")

    def test_they_are_no_part_of_what_is_shown(self, config: Callable[[str], Config]) -> None:
        given = config("drain_s: 1")
        shown = f"{given!r} {given} {given.model_dump()} {given.model_dump_json()}"
        assert not any(value in shown for value in ENVIRON.values())

    def test_models_take_them_for_a_demonstration(self) -> None:
        plain = Config()
        assert plain.with_secrets(Secrets("a", "b")).secrets.client_id == "a"
        assert plain.secrets == Secrets()

    def test_only_the_daemon_needs_the_password_of_ari(self, tmp_path: Path) -> None:
        file = tmp_path / "bridge.yaml"
        file.write_text("drain_s: 1")
        environ = {"RTZR_CLIENT_ID": "id-1", "RTZR_CLIENT_SECRET": "s3cr3t"}
        assert load(file, environ, pbx=False).secrets.ari_password == ""
        with pytest.raises(ConfigError, match=r"^environment: ARI_PASSWORD: is not set; set it, or ARI"):
            load(file, environ)

    def test_what_needs_no_rtzr_needs_no_secret_of_it(self, tmp_path: Path) -> None:
        file = tmp_path / "bridge.yaml"
        file.write_text("drain_s: 1")
        assert load(file, {}, pbx=False, rtzr=False).secrets == Secrets()
        assert load(file, {"ARI_PASSWORD": "p4ss"}, rtzr=False).secrets == Secrets(ari_password="p4ss")

    def test_the_secret_of_the_pbx_that_is_followed_is_the_one_that_is_needed(self, tmp_path: Path) -> None:
        file = tmp_path / "bridge.yaml"
        file.write_text("pbx: freeswitch\n")
        environ = {"RTZR_CLIENT_ID": "id", "RTZR_CLIENT_SECRET": "x", "ESL_PASSWORD": "the-password"}
        assert load(file, environ).secrets.esl_password == "the-password"
        with pytest.raises(ConfigError, match="ESL_PASSWORD: is not set"):
            load(file, {**environ, "ESL_PASSWORD": ""})

    def test_everybodys_password_guards_nothing_but_loopback(self, tmp_path: Path) -> None:
        file = tmp_path / "bridge.yaml"
        environ = {"RTZR_CLIENT_ID": "id", "RTZR_CLIENT_SECRET": "x", "ESL_PASSWORD": DEFAULT_PASSWORD}
        for section in ("", "{esl_host: localhost}", "{esl_host: 192.0.2.1, default_password_allowed: true}"):
            file.write_text(f"pbx: freeswitch\nfreeswitch: {section}\n")
            assert load(file, environ).secrets.esl_password == DEFAULT_PASSWORD
        file.write_text("pbx: freeswitch\nfreeswitch: {esl_host: 192.0.2.1}\n")
        with pytest.raises(ConfigError, match=r"ESL_PASSWORD: .* event_socket\.conf\.xml"):
            load(file, environ)

    @pytest.mark.parametrize(
        "key",
        ["client_id", "client_secret", "clientSecret", "password", "ari_password", "token", "ARI_PASSWORD"],
    )
    @pytest.mark.parametrize(
        "text",
        [
            "{}: hunter2",
            "rtzr:\n  {}: hunter2",
            "x:\n- - {}: hunter2",
            "rtzr:\n  {}: [1, hunter2]",
            "rtzr:\n  {}: {{hunter2: 1, hunter2: 2, a: {{hunter2: !hunter2 x}}}}",
            "rtzr:\n  {}: *hunter2",
            "rtzr:\n  {}: !hunter2!x y",
            "rtzr:\n  {}: @hunter2",
            'rtzr:\n  {}: "hunter2',
            "rtzr:\n  {}: %hunter2",
            "rtzr:\n  {}: hunter2\n  {}: hunter2",
            "rtzr:\n  {}:hunter2\ngate: 1",
            "{}:hunter2: 1",
            "{}=hunter2: 1",
        ],
    )
    def test_in_clear_they_are_refused_and_not_repeated(self, faults: Check, key: str, text: str) -> None:
        told = faults(text.replace("{}", key).replace("{{", "{").replace("}}", "}"))
        assert "hunter2" not in "".join(told)

    def test_the_mend_names_the_variable(self, faults: Check) -> None:
        (line,) = faults("asterisk:\n  ari_password: hunter2")
        assert line == (
            "FILE:2: asterisk.ari_password: is a secret, and none is read from this file; take it out and "
            "set ARI_PASSWORD, or the same with _FILE, in the environment"
        )

    @pytest.mark.parametrize(
        "text",
        [
            "asterisk: {ari_url: 'http://rtzr:hunter2@pbx/ari'}",
            "rtzr: {proxy: 'http://me:hunter2@proxy:3128'}",
            "rtzr: {auth_url: 'https://rtzr.test/v1?client_secret=hunter2'}",
            "rtzr: {auth_url: 'http://[hunter2'}",
            "rtzr: {ca_file: /hunter2/x}",
            "rtzr: {epd_time: hunter2, model_name: 'hunter2 x', domain: hunter2, keywords: [hunter2]}",
            "gate: hunter2",
            "hunter2",
        ],
    )
    def test_no_line_repeats_a_value(self, faults: Check, text: str) -> None:
        assert "hunter2" not in "".join(faults(text))


@pytest.fixture(scope="module")
def fuzzed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzz") / "bridge.yaml"


def only_config_error(file: Path, raw: bytes) -> None:
    file.write_bytes(raw)
    lines = ["read"]
    try:
        load(file, ENVIRON)
    except ConfigError as error:
        lines = error.lines
    assert lines
    assert all(line.isprintable() for line in lines)


WORDS = """
rtzr gate media mode keywords epd_time drain_s client_secret 가 : - ? , [ ] { } & * ! | > ' " % @ # <<
a b 1 0x 1:2 2024-13-45 2024-01-01 !!int !!float !!bool !!timestamp !!binary !!set !!omap !!null ~ .inf
.nan --- ... \\U00110000 \\ud800 \\x 1e999 0b 0o8 %YAML %TAG true yes
"""
PIECES = st.sampled_from([*WORDS.split(), " ", "\n", "\n  ", ": ", "\n- "])
YAML = st.lists(PIECES, max_size=30).map("".join)


@given(text=YAML)
@example(text='a: "\\U00110000"')
@example(text='"\\ud800": 1')
@example(text="%YAML 1.1\n--- 1")
@example(text="%YAML " + "9" * 5000 + ".1\n---\na: 1")
@example(text="drain_s: " + "9" * 5000)
@example(text="drain_s: !!timestamp x")
@example(text="drain_s: !!bool x")
@example(text="drain_s: !!int ''")
@example(text="drain_s: 0x")
@example(text="<<: {drain_s: 1}")
@example(text="{" * 3000)
@example(text="a: " * 3000)
@example(text="? " * 3000)
def test_yaml_of_any_shape_raises_only_config_error(fuzzed: Path, text: str) -> None:
    only_config_error(fuzzed, text.encode())


@given(raw=st.binary(max_size=200))
def test_any_bytes_raise_only_config_error(fuzzed: Path, raw: bytes) -> None:
    only_config_error(fuzzed, raw)


@given(text=st.text(max_size=100))
def test_any_text_raises_only_config_error(fuzzed: Path, text: str) -> None:
    only_config_error(fuzzed, text.encode("utf-8", "surrogatepass"))


TREES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.sampled_from([*sorted(keys(Config)), "x"]), inner, max_size=4),
    ),
    max_leaves=8,
)


@given(sections=st.dictionaries(st.sampled_from([*Config.model_fields, "x"]), TREES, max_size=4))
def test_values_of_any_type_raise_only_config_error(fuzzed: Path, sections: dict[str, Any]) -> None:
    only_config_error(fuzzed, yaml.safe_dump(sections, allow_unicode=True).encode("utf-8", "surrogatepass"))


class TestSinksOfRules:
    def test_a_rule_names_some(self, config: Callable[[str], Config]) -> None:
        text = "rules: [{name: a, sinks: [jsonl]}, {name: b}]\nsinks: {jsonl: {path: /tmp/x}}"
        read = config(text)
        assert read.sinks_of_rules == {"a": frozenset({"jsonl"})}
        assert read.sinks_on == {"console", "jsonl"}

    def test_the_outbox_is_one_of_them(self, config: Callable[[str], Config], faults: Check) -> None:
        outlets = "outbox: {path: /tmp/o}\nsinks: {redis: {url: 'redis://db', rules: [a]}}"
        read = config(f"rules: [{{name: a, sinks: [outbox]}}, {{name: b, sinks: []}}]\n{outlets}")
        assert read.sinks_on == {"console", "outbox"}
        assert read.rules_without_outbox == {"b"}
        assert faults("rules: [{name: a, sinks: [outbox]}]") == [
            "FILE:1: rules[0].sinks: names outbox, which is off; set outbox.path, or leave it out here"
        ]

    def test_what_is_wrong_with_a_rules_name_is_told_once(self, faults: Check) -> None:
        assert faults("rules: [{name: a}, {name: a}]") == [
            "FILE:1: rules[1].name: is another rule's name; give it one of its own"
        ]
        assert len(faults("rules: [{name: 5}]")) == 1
        assert faults("rules: [{tap: false}]") == ["FILE:1: rules[0].name: is missing; give it"]

    def test_one_that_is_off_or_not_there_is_a_fault_with_the_mend(self, faults: Check) -> None:
        text = """\
rules:
  - name: a
    sinks: [console, jsonl]
  - name: b
    sinks:
      - pbx
"""
        off, out = "which is off; set", "or leave it out here"
        assert faults(text) == [
            f"FILE:3: rules[0].sinks: names jsonl, {off} sinks.jsonl.path, {out}",
            f"FILE:5: rules[1].sinks: names pbx, {off} sinks.pbx.user_event or sinks.pbx.variable, {out}",
        ]
        (line,) = faults("rules: [{name: a, sinks: [mail]}]")
        choices = "'console', 'jsonl', 'pbx', 'feed' or 'outbox'"
        assert line == f"FILE:1: rules[0].sinks[0]: is not one of its choices; write {choices}"


class TestTextForThePbx:
    @pytest.mark.parametrize(
        ("pbx", "asterisk", "fault"),
        [
            ("user_event: T, application: crm", "", ""),
            ("user_event: T", "via: ami", ""),
            ("variable: T", "via: ami", ""),
            ("variable: T", "", "sinks.pbx.variable: is set over AMI only: ARI refuses it; "),
            ("user_event: T", "", "sinks.pbx.application: is missing: over ARI one application is told; "),
            ("application: crm", "", "sinks.pbx.application: is for a user_event over ARI; "),
            (
                "user_event: T, application: crm",
                "via: ami",
                "sinks.pbx.application: is for a user_event over",
            ),
            ("user_event: T, application: a", "app: a", "sinks.pbx.application: is the bridge's own; "),
            (
                "user_event: RTZR, application: a",
                "",
                "sinks.pbx.user_event: is the event by which the dialplan",
            ),
        ],
    )
    def test_what_each_way_can_be_told(self, tmp_path: Path, pbx: str, asterisk: str, fault: str) -> None:
        file = tmp_path / "bridge.yaml"
        file.write_text(f"sinks: {{pbx: {{{pbx}}}}}\nasterisk: {{{asterisk}}}")
        try:
            load(file, {**ENVIRON, "AMI_SECRET": "s"})
            told = [""]
        except ConfigError as error:
            told = [line.partition(": ")[2] for line in error.lines]
        assert len(told) == 1
        assert told[0].startswith(fault)
        assert bool(told[0]) == bool(fault)


class TestFeedAndAdmin:
    ON = "sinks: {feed: {port: 8090}}"

    def test_the_token_is_read_from_the_variable_that_is_named(self, tmp_path: Path) -> None:
        file = tmp_path / "bridge.yaml"
        file.write_text("sinks: {feed: {port: 8090, token_env: MY_TOKEN}}")
        read = load(file, ENVIRON | {"MY_TOKEN": "x" * 16})
        assert read.secrets.feed_token == "x" * 16
        assert read.sinks.on == {"console", "feed"}
        assert "x" * 16 not in repr(read.secrets)

    def test_who_does_not_open_it_needs_no_token(self, tmp_path: Path) -> None:
        file = tmp_path / "bridge.yaml"
        file.write_text(self.ON)
        assert load(file, {}, pbx=False, rtzr=False).secrets.feed_token == ""

    def test_without_a_token_nobody_reads(self, faults: Check) -> None:
        (fault,) = faults(self.ON)
        assert fault.startswith("environment: RTZR_FEED_TOKEN: is not set; set it, or RTZR_FEED_TOKEN_FILE ")
        (fault,) = faults(self.ON, ENVIRON | {"RTZR_FEED_TOKEN": "short-0ne"})
        assert fault.startswith("environment: RTZR_FEED_TOKEN: is too short for a token ")
        assert "short-0ne" not in fault

    def test_a_token_where_its_variable_belongs_is_not_repeated(self, faults: Check) -> None:
        (fault,) = faults("sinks: {feed: {token_env: abcdef0123456789abcdef0123456789}}")
        assert fault.startswith("FILE:1: sinks.feed.token_env: is no name of an environment variable; ")
        assert "abcdef" not in fault

    @pytest.mark.parametrize("path", ["admin.sock", "run/admin.sock", f"/{'x' * 100}", "/run/a\tb"])
    def test_a_socket_has_a_whole_path_that_the_kernel_takes(self, faults: Check, path: str) -> None:
        (fault,) = faults(f'admin: {{socket: "{path}"}}')
        assert fault.startswith("FILE:1: admin.socket: is no path")

    @pytest.mark.parametrize(
        "origin",
        [
            "crm.example",
            "https://crm.example/",
            "HTTPS://crm.example",
            "https://",
            "*",
            "ftp://x",
            "http://[",
        ],
    )
    def test_an_origin_is_as_a_browser_says_it(self, faults: Check, origin: str) -> None:
        (fault,) = faults(f'sinks: {{feed: {{origins: ["{origin}"]}}}}')
        assert fault.startswith("FILE:1: sinks.feed.origins[0]: is no origin; ")

    def test_an_origin_is_taken_as_it_is(self, config: Callable[[str], Config]) -> None:
        given = config("sinks: {feed: {origins: [https://crm.example, 'http://10.0.0.1:8080']}}")
        assert given.sinks.feed.origins == ("https://crm.example", "http://10.0.0.1:8080")


@pytest.mark.parametrize("name", ["TENANT", "_x1", "sip_h_X-Tenant", "a.b"])
def test_rules_look_at_variables_of_any_usual_name(name: str) -> None:
    assert Match.model_validate({"variables": {name: "acme"}}).conditions()[0].key == f"variables.{name}"


@pytest.mark.parametrize("name", ["", "1x", "-x", "a b", "a,b", "x" * 65])
def test_a_variables_name_is_a_name(name: str) -> None:
    with pytest.raises(ValidationError):
        Match.model_validate({"variables": {name: "acme"}})
