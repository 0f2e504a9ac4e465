"""The configuration: every YAML key, its default and its bounds, and `load`, which reads a file whole.

Models, and the rules between keys. What a single value may be is in `values`, how YAML is read in
`yamltree`, how secrets are had in `credentials`, how faults become lines in `faults`. Nothing here
prints, logs or exits.
"""

import ipaddress
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PrivateAttr,
    ValidationError,
    model_validator,
)

from bridge import credentials
from bridge.config import yamltree
from bridge.config.faults import (
    ConfigError,
    Rule,
    beneath_secret,
    faults_of,
    keep,
    line_of,
    secret_keys,
    without,
)
from bridge.config.values import (
    Address,
    AnyHttp,
    CaFile,
    FilePath,
    Host,
    Keywords,
    Name,
    Port,
    Seconds,
    SecuredHttp,
    SecuredWs,
    Silence,
    Steps,
    Threshold,
    WorkerNumber,
)
from bridge.credentials import Secrets
from bridge.types import Codec

__all__ = ["Config", "ConfigError", "Secrets", "load"]

_BIGGEST_FILE = 1 << 20


class _Section(BaseModel):
    """What all sections share: nothing unknown, nothing converted, nothing changed afterwards."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _empty_is_default(cls, value: Any) -> Any:
        return {} if value is None else value  # `sinks:` with every key under it commented out


class Rtzr(_Section):
    """The speech-to-text service; the names of its own parameters are RTZR's."""

    auth_url: SecuredHttp = "https://openapi.vito.ai/v1/authenticate"
    stream_url: SecuredWs = "wss://openapi.vito.ai/v1/transcribe:streaming"
    file_url: SecuredHttp = "https://openapi.vito.ai/v1/transcribe"
    model_name: Name = "sommers_ko"
    domain: Literal["CALL", "MEETING"] = "CALL"
    language: Name = "ko"
    use_itn: bool = True
    use_disfluency_filter: bool = False
    use_profanity_filter: bool = False
    use_punctuation: bool = False
    keywords: Keywords = ()
    epd_time: Annotated[float, Field(gt=0, le=60)] = 0.5
    max_utter_duration: Annotated[int, Field(ge=1, le=600)] = 12
    noise_threshold: Threshold | None = None
    active_threshold: Threshold | None = None
    renew_before_s: Annotated[float, Field(ge=0, le=18000)] = 600
    connect_timeout_s: Seconds = 5
    preopen: Literal["answer", "ring"] = "answer"
    catch_up: Annotated[float, Field(ge=1, le=100)] = 2.0
    keepalive_s: Annotated[float, Field(ge=0, le=3600)] = 10
    watchdog_s: Annotated[float, Field(ge=0, le=3600)] = 15
    rotate_s: Annotated[float, Field(ge=0, le=86400)] = 3600
    proxy: AnyHttp | None = None
    ca_file: CaFile | None = None

    @model_validator(mode="after")
    def _whole(self) -> Self:
        boosts = self.model_name == "sommers_ko" or (self.model_name == "whisper" and self.language == "ko")
        return keep(
            self,
            Rule(
                not self.keywords or boosts,
                ("keywords", "model_name"),
                "are for model_name sommers_ko only; empty the list or change the model",
            ),
        )


class Asterisk(_Section):
    """Asterisk's REST interface, and the names that the dialplan shares with us."""

    ari_url: AnyHttp = "http://127.0.0.1:8088/ari"
    username: Name = "rtzr-bridge"
    app: Name = "rtzr-bridge"
    tap_context: Name = "rtzr-tap"
    user_event: Name = "RTZR"
    request_timeout_s: Seconds = 5


class Media(_Section):
    """How audio comes from the PBX: one UDP port a leg."""

    bind: Address = "127.0.0.1"
    advertise: Host | None = None
    first_port: Port = 40000
    last_port: Port = 40999
    codec: Literal["ulaw", "alaw", "slin"] = "ulaw"
    message_ms: Annotated[int, Field(ge=20, le=100)] = 40
    reorder_ms: Annotated[int, Field(ge=0, le=500)] = 60
    ring_s: Annotated[int, Field(ge=5, le=600)] = 60
    port_rest_s: Annotated[float, Field(ge=0, le=3600)] = 30
    early_media: bool = False

    @model_validator(mode="after")
    def _whole(self) -> Self:
        everywhere = ipaddress.ip_address(self.bind).is_unspecified
        return keep(
            self,
            Rule(
                self.first_port <= self.last_port,
                ("first_port", "last_port"),
                "is above last_port; swap the two or widen the range",
            ),
            Rule(
                not everywhere or self.advertise is not None,
                ("advertise", "bind"),
                "must be given when bind is every address; set it to the address the PBX sends audio to",
            ),
        )

    @property
    def advertised(self) -> str:
        """The address that the PBX is told to send to."""
        return self.advertise or self.bind

    @property
    def encoding(self) -> Codec:
        """`codec` as the bridge's own noun."""
        return Codec.of(self.codec)


class Gate(_Section):
    """What of the audio is sent, and when an utterance is over. Milliseconds."""

    mode: Literal["immediate", "vad", "hybrid"] = "hybrid"
    start_ms: Annotated[int, Field(ge=10, le=1000)] = 60
    silence_ms: Silence = 400
    preroll_ms: Annotated[int, Field(ge=0, le=5000)] = 300
    hangover_ms: Annotated[int, Field(ge=0, le=10000)] = 200
    min_speech_ms: Annotated[int, Field(ge=0, le=5000)] = 100
    max_utterance_ms: Annotated[int, Field(ge=1000, le=120000)] = 12000
    aggressiveness: Annotated[int, Field(ge=0, le=3)] = 2

    @model_validator(mode="after")
    def _whole(self) -> Self:
        return keep(
            self,
            Rule(
                self.hangover_ms <= self.silence_ms,
                ("hangover_ms", "silence_ms"),
                "is longer than silence_ms, which ends the utterance; give silence_ms or less",
            ),
            Rule(
                self.preroll_ms >= self.start_ms,
                ("preroll_ms", "start_ms"),
                "is shorter than start_ms, so utterances would lose their first sound; give start_ms or more",
            ),
            Rule(
                self.min_speech_ms < self.max_utterance_ms,
                ("min_speech_ms", "max_utterance_ms"),
                "is not shorter than max_utterance_ms; give less",
            ),
        )


class Hangup(_Section):
    """What happens when a leg ends."""

    drain_ms: Annotated[int, Field(ge=0, le=60000)] = 5000
    outage_s: Annotated[float, Field(ge=0, le=3600)] = 60


class Console(_Section):
    """Live transcripts on the terminal."""

    enabled: bool = True
    partials: bool = True


class Jsonl(_Section):
    """Events as lines of JSON in a file."""

    path: FilePath | None = None


class Quota(_Section):
    """The account's channels: RTZR counts sessions per organisation."""

    max_sessions: Annotated[int, Field(ge=0, le=100_000)] = 0
    reserve: Annotated[int, Field(ge=0, le=100_000)] = 0
    on_full: Literal["wait", "lowest_priority_out", "mix_legs"] = "wait"
    alarm: Annotated[float, Field(gt=0, le=1)] = 0.8

    @model_validator(mode="after")
    def _whole(self) -> Self:
        rule = Rule(
            not self.max_sessions or self.reserve < self.max_sessions,
            ("reserve", "max_sessions"),
            "leaves no session for ordinary legs; give less than max_sessions",
        )
        return keep(self, rule)


class Overload(_Section):
    """When new calls are refused, so that those that are heard are heard in time."""

    max_legs: Annotated[int, Field(ge=0, le=1_000_000)] = 0
    full_at: Annotated[float, Field(gt=0, le=1)] = 0.85


class Cost(_Section):
    """What RTZR asks for an hour, by the hours of the month."""

    won_per_h: Steps = (1000, 500, 400, 300)
    up_to_h: Steps = (1000, 10_000, 25_000)

    @model_validator(mode="after")
    def _whole(self) -> Self:
        rule = Rule(
            len(self.won_per_h) == len(self.up_to_h) + 1 and list(self.up_to_h) == sorted(self.up_to_h),
            ("up_to_h", "won_per_h"),
            "must rise and be one shorter than won_per_h, whose last price is for all hours that follow",
        )
        return keep(self, rule)


class Spool(_Section):
    """Audio that could not be streamed waits on the disk for RTZR's file API. Off without a folder."""

    folder: FilePath | None = None
    max_mb: Annotated[int, Field(ge=1, le=10_000_000)] = 1000
    keep_days: Annotated[float, Field(gt=0, le=3650)] = 7


class Sinks(_Section):
    """Where events go."""

    console: Console = Console()
    jsonl: Jsonl = Jsonl()


class Log(_Section):
    """The daemon's own log, on standard error."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["console", "json"] = "console"


class Config(_Section):
    """All of it. `Config()` is every default, without secrets."""

    rtzr: Rtzr = Rtzr()
    asterisk: Asterisk = Asterisk()
    media: Media = Media()
    gate: Gate = Gate()
    hangup: Hangup = Hangup()
    quota: Quota = Quota()
    cost: Cost = Cost()
    spool: Spool = Spool()
    workers: WorkerNumber = 1
    overload: Overload = Overload()
    drain_s: Annotated[float, Field(ge=0, le=3600)] = 30
    sinks: Sinks = Sinks()
    log: Log = Log()

    _secrets: Secrets = PrivateAttr(default_factory=Secrets)

    @model_validator(mode="after")
    def _whole(self) -> Self:
        utterance_ms = max(self.gate.max_utterance_ms, 1000 * self.rtzr.max_utter_duration)
        return keep(
            self,
            Rule(
                1000 * self.media.ring_s >= utterance_ms + self.gate.preroll_ms,
                (
                    "media.ring_s",
                    "gate.max_utterance_ms",
                    "gate.preroll_ms",
                    "rtzr.max_utter_duration",
                ),
                "cannot hold one whole utterance, which a lost connection would need again; give more than "
                "gate.max_utterance_ms + gate.preroll_ms and than rtzr.max_utter_duration",
            ),
            Rule(
                self.workers == "auto" or self.media.last_port - self.media.first_port >= self.workers - 1,
                ("workers", "media.first_port", "media.last_port"),
                "are more than there are ports; widen media.first_port to media.last_port",
            ),
        )

    @property
    def secrets(self) -> Secrets:
        """What the environment gave; no key of the YAML and no part of `model_dump`."""
        return self._secrets

    def with_secrets(self, secrets: Secrets) -> "Config":
        """The same configuration with these secrets."""
        copy = self.model_copy()
        copy._secrets = secrets
        return copy


def load(path: Path, environ: Mapping[str, str], *, asterisk: bool = True) -> Config:
    """The configuration in `path`, with the secrets of `environ` (ARI's only if `asterisk`).

    Raises ConfigError, whose text is one line a fault: every fault of the file and the environment at once.
    """
    needed = tuple(name for name in credentials.VARIABLES if asterisk or name != "ari_password")
    secrets, missing = credentials.read(environ, needed)
    tree = yamltree.parse(_text(path, missing))
    config, faults = _validated(tree)
    faults.sort(key=lambda fault: fault.line or 0)
    lines = [line_of(path, fault) for fault in faults]
    lines += _environment(missing)
    if lines or config is None:
        raise ConfigError(lines)
    return config.with_secrets(secrets)


def _text(path: Path, missing: list[str]) -> str:
    """The file's text. Raises ConfigError, with what is `missing` in the environment told too."""
    line = None
    try:
        with path.open("rb") as stream:
            raw = stream.read(_BIGGEST_FILE + 1)
        if len(raw) > _BIGGEST_FILE:
            text = "is over 1 MiB, which no configuration is; give the YAML file"
        else:
            return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = 1 + raw.count(b"\n", 0, error.start)
        text = "is not UTF-8; save the file as UTF-8"
    except (OSError, ValueError) as error:
        text = f"cannot be read ({getattr(error, 'strerror', None) or 'no path'}); give --config FILE"
    fault = line_of(path, yamltree.Fault((), text, line))
    raise ConfigError([fault, *_environment(missing)])


def _environment(missing: list[str]) -> list[str]:
    return [f"environment: {line}" for line in missing]


def _validated(tree: yamltree.Tree) -> tuple[Config | None, list[yamltree.Fault]]:
    """The configuration that `tree` says, or None, and every fault of it."""
    if not isinstance(tree.value, dict):
        return None, tree.faults or [_no_mapping(tree)]
    faults = [fault for fault in tree.faults if not beneath_secret(fault.path)] + secret_keys(tree)
    touched = {fault.path for fault in faults}
    while True:  # a rule between keys shows itself only once the keys by themselves are right
        try:
            return Config.model_validate(without(tree.value, touched)), faults
        except ValidationError as error:
            found, places = faults_of(error, Config, tree, touched)
        faults += found
        if places <= touched:
            return None, faults
        touched |= places


def _no_mapping(tree: yamltree.Tree) -> yamltree.Fault:
    if tree.value is None:
        return yamltree.Fault((), "says nothing; begin with a copy of config/bridge.yaml")
    return yamltree.Fault((), "is not a mapping; write 'section:' and 'key: value' lines", 1)
