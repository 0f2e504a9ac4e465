"""How the two PBXs are reached: the sections `asterisk` and `freeswitch`; one of them holds."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from bridge.config.faults import Rule, keep
from bridge.config.section import Section
from bridge.config.values import (
    AnyHttp,
    FilePath,
    Host,
    Name,
    Patterns,
    RtpRange,
    Seconds,
)
from bridge.types import Codec, Transport
from bridge.wire.taporder import TapKind


class Asterisk(Section):
    """How Asterisk is reached, and the names that the dialplan shares with us."""

    via: Literal["ari", "ami"] = "ari"
    """ari, or ami: then no ARI and no dialplan of ours is needed, only manager.conf."""
    ari_url: AnyHttp = "http://127.0.0.1:8088/ari"
    """The address in http.conf, and /ari."""
    ami_host: Host = "127.0.0.1"
    """The bindaddr of manager.conf."""
    ami_port: Annotated[int, Field(ge=1, le=65535)] = 5038
    """The port of manager.conf; with ami_tls that of its tlsbindaddr."""
    ami_tls: bool = False
    """Encrypt the line to AMI; then ami_port is that of manager.conf's tlsbindaddr."""
    username: Name = "rtzr-bridge"
    """The section's name in ari.conf or manager.conf."""
    app: Name = "rtzr-bridge"
    """Our name as a Stasis application."""
    tap: Literal["chanspy", "snoop", "external"] = "chanspy"
    """chanspy; over ARI also snoop (HD, dearer for the PBX) or external (no dialplan of ours):
    docs/taps.md."""
    transport: Literal["auto", "rtp", "websocket", "websocket_client", "audiosocket"] = "auto"
    """auto: the safest that this Asterisk has; docs/taps.md."""
    tap_context: Name = "rtzr-tap"
    """The context of extensions.conf that our taps run in."""
    websocket_client: Name = "rtzr-bridge"
    """The section of websocket_client.conf, for transport websocket_client only."""
    user_event: Name = "RTZR"
    """The event by which the dialplan announces a call."""
    request_timeout_s: Seconds = 5
    """Give up a request to Asterisk after this long."""
    rtp_range: RtpRange | None = None
    """The [rtpstart, rtpend] of rtp.conf: a tap without a port crashes Asterisk; null: ask the PBX."""
    trunk_contexts: Patterns = ("from-trunk*", "from-pstn*", "from-did*", "from-sip-external", "from-dahdi*")
    """Where calls from outside come in."""

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
    """The listen-ip of event_socket.conf.xml."""
    esl_port: Annotated[int, Field(ge=1, le=65535)] = 8021
    """The listen-port of event_socket.conf.xml."""
    default_password_allowed: bool = False
    """Take FreeSWITCH's own default for ESL_PASSWORD on another machine too."""
    module: Literal["auto", "audio_stream", "audio_fork"] = "auto"
    """The media module; auto for the one that is loaded."""
    stream: Literal["mono", "stereo"] = "mono"
    """mono: one stream a party; stereo: one a call, which can fall behind: docs/freeswitch.md."""
    rate: Literal[8000, 16000, 24000] = 8000
    """Samples a second that it is to send, whatever the call has."""
    media_wait_s: Seconds = 5
    """How long a stream that was started has to reach us."""
    media_tls_cert: FilePath | None = None
    """PEM file: streams come over wss://, if the module was built with TLS."""
    media_tls_key: FilePath | None = None
    """PEM file of the key for media_tls_cert."""
    request_timeout_s: Seconds = 5
    """Give up a request to FreeSWITCH after this long."""
    trunk_contexts: Patterns = ("public", "external")
    """Calls come in in these contexts, and go out by profiles of these names."""

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
