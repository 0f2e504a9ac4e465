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
    Port,
    Seconds,
    SecuredHttp,
    SecuredWs,
    Silence,
    SocketPath,
    Steps,
    Threshold,
)
from bridge.types import Codec
from bridge.wire.cost import Price


class Rtzr(Section):
    """The speech-to-text service; the names of its own parameters are RTZR's."""

    auth_url: SecuredHttp = "https://openapi.vito.ai/v1/authenticate"
    """Where tokens come from; https, except on this machine."""
    stream_url: SecuredWs = "wss://openapi.vito.ai/v1/transcribe:streaming"
    """Where audio goes; wss, except on this machine."""
    file_url: SecuredHttp = "https://openapi.vito.ai/v1/transcribe"
    """Where spooled audio goes; https, except on this machine."""
    model_name: Name = "sommers_ko"
    """RTZR's model."""
    domain: Literal["CALL", "MEETING"] = "CALL"
    """CALL for telephones, MEETING for a microphone far away."""
    language: Name = "ko"
    """What is spoken; for model_name whisper only."""
    use_itn: bool = True
    """Numbers, units and English words in writing instead of as spoken."""
    use_disfluency_filter: bool = False
    """Leave out "음", "어" and the like."""
    use_profanity_filter: bool = False
    """Mask swear words."""
    use_punctuation: bool = False
    """Full stops and commas in the text."""
    keywords: Keywords = ()
    """Words to expect: up to 100, Hangul, 20 characters, as word or word:score (-5.0 to 5.0)."""
    epd_time: Annotated[float, Field(gt=0, le=60)] = 0.5
    """Seconds of silence after which RTZR itself ends an utterance."""
    max_utter_duration: Annotated[int, Field(ge=1, le=600)] = 12
    """Seconds after which RTZR splits an utterance that does not end."""
    noise_threshold: Threshold | None = None
    """RTZR's own, 0 to 1; null leaves it to RTZR."""
    active_threshold: Threshold | None = None
    """RTZR's own, 0 to 1; null leaves it to RTZR."""
    renew_before_s: Annotated[float, Field(ge=0, le=18000)] = 600
    """Get the next token this long before the present one expires (they live 6 h)."""
    connect_timeout_s: Seconds = 5
    """Give up a connection attempt after this long."""
    preopen: Literal["answer", "ring"] = "answer"
    """When a leg's socket is opened: at its answer, or already at its ring (each is billed 10 s)."""
    catch_up: Annotated[float, Field(ge=1, le=100)] = 2.0
    """How fast what waited follows, in times real time; what RTZR bears is not documented."""
    keepalive_s: Annotated[float, Field(ge=0, le=3600)] = 10
    """After so long without audio send 0.1 s of silence, lest RTZR close; 0 for never."""
    watchdog_s: Annotated[float, Field(ge=0, le=3600)] = 15
    """Speech was sent and nothing came for so long: the socket counts as lost; 0 for never."""
    rotate_s: Annotated[float, Field(ge=0, le=86400)] = 3600
    """Replace a socket that is older, between two utterances; 0 for never."""
    proxy: AnyHttp | None = None
    """The proxy, http://host:port, through which RTZR is reached."""
    ca_file: CaFile | None = None
    """PEM file of certificates to trust instead of the system's."""

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


class Media(Section):
    """How audio comes from the PBX: over UDP one port a leg, over TCP all legs of a process on one."""

    bind: Address = "127.0.0.1"
    """The address to receive audio on; 0.0.0.0 for every one of this machine."""
    advertise: Host | None = None
    """The address the PBX sends to; null for the same as bind."""
    first_port: Port = 40000
    """The first of the UDP ports for audio, one a leg."""
    last_port: Port = 40999
    """The last of the UDP ports for audio."""
    audiosocket_port: Port = 9092
    """TCP port for transport audiosocket; workers have this one and those that follow."""
    audiosocket_calls: bool = False
    """Take calls that the dialplan sends by AudioSocket() itself: docs/taps.md."""
    websocket_port: Port = 8787
    """TCP port: FreeSWITCH's streams, a port for each worker; websocket_client, with workers: 1."""
    codec: Literal["ulaw", "alaw", "slin"] = "ulaw"
    """The audio that is asked of the PBX; a ChanSpy tap is 8 kHz with each."""
    wideband: bool = True
    """Taps other than chanspy: calls of more than 8 kHz come as slin16 (audiosocket: linear always)."""
    message_ms: Annotated[int, Field(ge=20, le=100)] = 40
    """Audio in one message to RTZR."""
    reorder_ms: Annotated[int, Field(ge=0, le=500)] = 60
    """How long to wait for a packet that is late."""
    ring_s: Annotated[int, Field(ge=5, le=600)] = 60
    """Audio kept for each leg until a final covers it; about 10 kB a second (slin: 18)."""
    port_rest_s: Annotated[float, Field(ge=0, le=3600)] = 30
    """How long a closed port rests before another leg gets it."""
    early_media: bool = False
    """Transcribe what is heard before the answer too."""

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
    """immediate: all is sent; vad: speech only; hybrid: all is sent, and we say when an utterance ends."""
    start_ms: Annotated[int, Field(ge=10, le=1000)] = 60
    """This much voice is speech."""
    silence_ms: Silence = 400
    """An utterance ends after this much silence; 180 at least, WebRTC VAD's own hang-over."""
    preroll_ms: Annotated[int, Field(ge=0, le=5000)] = 300
    """With mode vad, sent from before the speech was noticed."""
    hangover_ms: Annotated[int, Field(ge=0, le=10000)] = 200
    """With mode vad, sent from after it ended; silence_ms at most."""
    min_speech_ms: Annotated[int, Field(ge=0, le=5000)] = 100
    """An utterance shorter than this is a noise."""
    max_utterance_ms: Annotated[int, Field(ge=1000, le=120000)] = 12000
    """An utterance that does not end is ended here."""
    aggressiveness: Annotated[int, Field(ge=0, le=3)] = 2
    """Of WebRTC VAD: 0 takes most for speech, 3 least."""

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
    """Wait this long for the last finals after a hang-up."""
    outage_s: Annotated[float, Field(ge=0, le=3600)] = 60
    """If RTZR is away at the hang-up, try it for this long with what it did not hear yet."""


class Quota(Section):
    """The account's channels: RTZR counts sessions per organisation."""

    max_sessions: Annotated[int, Field(ge=0, le=100_000)] = 0
    """Sessions that RTZR gives the organisation (5 free, 20 basic); 0: find out by its refusals."""
    reserve: Annotated[int, Field(ge=0, le=100_000)] = 0
    """Of max_sessions, kept for legs of priority above 0."""
    on_full: Literal["wait", "lowest_priority_out", "mix_legs"] = "wait"
    """wait, or lowest_priority_out: the least important leg gives way; or mix_legs: one stream a call."""
    alarm: Annotated[float, Field(gt=0, le=1)] = 0.8
    """Say so when this share of max_sessions is in use."""

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
    """Refuse calls beyond so many legs; 0 for as many as the machine bears."""
    full_at: Annotated[float, Field(gt=0, le=1)] = 0.85
    """Refuse calls that would take a process beyond this share of its core."""


class Cost(Section):
    """What RTZR asks for an hour, by the hours of the month."""

    won_per_h: Steps = (1000, 500, 400, 300)
    """RTZR's price of an hour, without VAT: of the month's first hours, and beyond each step of up_to_h."""
    up_to_h: Steps = (1000, 10_000, 25_000)
    """Up to how many hours of the month each price holds; the last price is for all that follow."""

    @model_validator(mode="after")
    def _whole(self) -> Self:
        rule = Rule(
            len(self.won_per_h) == len(self.up_to_h) + 1 and list(self.up_to_h) == sorted(self.up_to_h),
            ("up_to_h", "won_per_h"),
            "must rise and be one shorter than won_per_h, whose last price is for all hours that follow",
        )
        return keep(self, rule)

    @property
    def prices(self) -> tuple[Price, ...]:
        """As they are reckoned with."""
        return tuple(map(Price, self.won_per_h, (*self.up_to_h, None)))


class Pause(Section):
    """How a call is paused and resumed from the PBX's side, beside the dialplan's events."""

    variable: bool = False
    """Follow the channel variable RTZR_PAUSE (1, 0) as the dialplan sets it; the PBX tells more then."""
    dtmf: Keys | None = None
    """Keys of either telephone that pause the call, such as "*7"."""
    resume_dtmf: Keys | None = None
    """Keys that resume it, such as "*8"."""

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
    """Where audio that could not be streamed waits for RTZR's file API; null: none touches the disk."""
    max_mb: Annotated[int, Field(ge=1, le=10_000_000)] = 1000
    """The oldest goes beyond this."""
    keep_days: Annotated[float, Field(gt=0, le=3650)] = 7
    """What nobody could send in this time goes too."""


class Outbox(Section):
    """Events on the disk until every webhook and stream has them. Off without a path."""

    path: FilePath | None = None
    """A file in a folder of the bridge's user in which events wait until every endpoint has them:
    docs/outbox.md."""
    max_mb: Annotated[int, Field(ge=1, le=10_000_000)] = 500
    """Beyond it what was delivered goes first, then the oldest that waits."""
    keep_days: Annotated[float, Field(gt=0, le=3650)] = 7
    """What is older goes; delivered events go at once, or with sinks.feed as late as this."""
    sync: Literal["normal", "full"] = "normal"
    """normal: a kill costs nothing, a power cut the last moments; full: neither does, and the disk has more
    to do."""


class Admin(Section):
    """How commands reach the running daemon. Off without a socket."""

    socket: SocketPath | None = None
    """For commands, health and metrics: docs/feed.md; such as /var/lib/rtzr-bridge/admin.sock; null: none."""


class Metrics(Section):
    """Where Prometheus and supervisors ask over HTTP, besides the control channel. Off without a port."""

    bind: Address = "127.0.0.1"
    """Where /metrics, /health and /ready are asked over HTTP, without a password: docs/operations.md."""
    port: Annotated[int, Field(ge=0, le=65535)] = 0
    """Their port, such as 9464; 0 for none."""


class Log(Section):
    """The daemon's own log, on standard error."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    """What is told: of this weight and above."""
    format: Literal["console", "json"] = "console"
    """Lines for people, or one JSON object a line; to standard error."""
