"""The sections of the YAML: every key, its default and its bounds, and the rules between keys of one section.

The whole, and how it is read, is the package's own `__init__`; what a single value may be is in `values`.
"""

import ipaddress
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from bridge.config.faults import Rule, keep
from bridge.config.section import Section
from bridge.config.values import (
    Address,
    AnyHttp,
    CaFile,
    FilePath,
    Host,
    Keys,
    Keywords,
    Name,
    Patterns,
    Port,
    RtpRange,
    Seconds,
    SecuredHttp,
    SecuredWs,
    Silence,
    SocketPath,
    Steps,
    Threshold,
)
from bridge.types import Codec, Transport
from bridge.wire.taporder import TapKind


class Rtzr(Section):
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


class Asterisk(Section):
    """How Asterisk is reached, and the names that the dialplan shares with us."""

    via: Literal["ari", "ami"] = "ari"
    ari_url: AnyHttp = "http://127.0.0.1:8088/ari"
    ami_host: Host = "127.0.0.1"
    ami_port: Annotated[int, Field(ge=1, le=65535)] = 5038
    ami_tls: bool = False
    username: Name = "rtzr-bridge"
    app: Name = "rtzr-bridge"
    tap: Literal["chanspy", "snoop", "external"] = "chanspy"
    transport: Literal["auto", "rtp", "websocket", "websocket_client", "audiosocket"] = "auto"
    tap_context: Name = "rtzr-tap"
    websocket_client: Name = "rtzr-bridge"
    user_event: Name = "RTZR"
    request_timeout_s: Seconds = 5
    rtp_range: RtpRange | None = None
    trunk_contexts: Patterns = ("from-trunk*", "from-pstn*", "from-did*", "from-sip-external", "from-dahdi*")

    @model_validator(mode="after")
    def _whole(self) -> Self:
        return keep(
            self,
            Rule(
                self.via == "ari" or self.tap == "chanspy",
                ("tap", "via"),
                "needs ARI; set asterisk.via: ari, or leave tap at chanspy",
            ),
        )

    @property
    def media_url(self) -> str:
        """Where Asterisk's HTTP server has the audio of chan_websocket: beside /ari."""
        scheme, _, rest = self.ari_url.partition("://")
        base = rest.rstrip("/").removesuffix("/ari")
        return f"{'wss' if scheme == 'https' else 'ws'}://{base}/media"

    @property
    def kind(self) -> TapKind:
        """`tap` as the bridge's own noun."""
        return TapKind(self.tap)

    @property
    def wanted_transport(self) -> Transport | None:
        """`transport` as the bridge's own noun; None for the safest that the PBX has."""
        return None if self.transport == "auto" else Transport(self.transport)


class FreeSwitch(Section):
    """How FreeSWITCH is reached, and what its media modules are to send."""

    esl_host: Host = "127.0.0.1"
    esl_port: Annotated[int, Field(ge=1, le=65535)] = 8021
    default_password_allowed: bool = False
    module: Literal["auto", "audio_stream", "audio_fork"] = "auto"
    stream: Literal["mono", "stereo"] = "mono"
    rate: Literal[8000, 16000, 24000] = 8000
    media_wait_s: Seconds = 5
    media_tls_cert: FilePath | None = None
    media_tls_key: FilePath | None = None
    request_timeout_s: Seconds = 5
    trunk_contexts: Patterns = ("public", "external")

    @model_validator(mode="after")
    def _whole(self) -> Self:
        return keep(
            self,
            Rule(
                (self.media_tls_cert is None) == (self.media_tls_key is None),
                ("media_tls_key", "media_tls_cert"),
                "goes with media_tls_cert; give both for wss://, or neither for ws://",
            ),
        )

    @property
    def kind(self) -> TapKind:
        """`stream` as the bridge's own noun."""
        return TapKind(self.stream)

    @property
    def codec(self) -> Codec:
        """What streams of `rate` are."""
        return {8000: Codec.SLIN, 16000: Codec.SLIN16, 24000: Codec.SLIN24}[self.rate]


class Media(Section):
    """How audio comes from the PBX: over UDP one port a leg, over TCP all legs of a process on one."""

    bind: Address = "127.0.0.1"
    advertise: Host | None = None
    first_port: Port = 40000
    last_port: Port = 40999
    audiosocket_port: Port = 9092
    audiosocket_calls: bool = False
    websocket_port: Port = 8787
    codec: Literal["ulaw", "alaw", "slin"] = "ulaw"
    wideband: bool = True
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

    def audiosocket_ports(self, workers: int) -> range:
        """One for each worker."""
        return range(self.audiosocket_port, self.audiosocket_port + workers)

    def websocket_ports(self, workers: int) -> range:
        """One for each worker."""
        return range(self.websocket_port, self.websocket_port + workers)

    @property
    def advertised(self) -> str:
        """The address that the PBX is told to send to."""
        return self.advertise or self.bind

    @property
    def encoding(self) -> Codec:
        """`codec` as the bridge's own noun."""
        return Codec.of(self.codec)


class Gate(Section):
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


class Hangup(Section):
    """What happens when a leg ends."""

    drain_ms: Annotated[int, Field(ge=0, le=60000)] = 5000
    outage_s: Annotated[float, Field(ge=0, le=3600)] = 60


class Quota(Section):
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


class Overload(Section):
    """When new calls are refused, so that those that are heard are heard in time."""

    max_legs: Annotated[int, Field(ge=0, le=1_000_000)] = 0
    full_at: Annotated[float, Field(gt=0, le=1)] = 0.85


class Cost(Section):
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


class Pause(Section):
    """How a call is paused and resumed from the PBX's side, beside the dialplan's events."""

    variable: bool = False
    dtmf: Keys | None = None
    resume_dtmf: Keys | None = None

    @model_validator(mode="after")
    def _whole(self) -> Self:
        one, other = self.dtmf or "", self.resume_dtmf or ""
        rule = Rule(
            not (one and other) or not (one.endswith(other) or other.endswith(one)),
            ("dtmf", "resume_dtmf"),
            "ends like the other one, so that both would be meant; give another",
        )
        return keep(self, rule)


class Spool(Section):
    """Audio that could not be streamed waits on the disk for RTZR's file API. Off without a folder."""

    folder: FilePath | None = None
    max_mb: Annotated[int, Field(ge=1, le=10_000_000)] = 1000
    keep_days: Annotated[float, Field(gt=0, le=3650)] = 7


class Outbox(Section):
    """Events on the disk until every webhook and stream has them. Off without a path."""

    path: FilePath | None = None
    max_mb: Annotated[int, Field(ge=1, le=10_000_000)] = 500
    keep_days: Annotated[float, Field(gt=0, le=3650)] = 7
    sync: Literal["normal", "full"] = "normal"


class Admin(Section):
    """How commands reach the running daemon. Off without a socket."""

    socket: SocketPath | None = None


class Metrics(Section):
    """Where Prometheus and supervisors ask over HTTP, besides the control channel. Off without a port."""

    bind: Address = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 0


class Log(Section):
    """The daemon's own log, on standard error."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["console", "json"] = "console"
