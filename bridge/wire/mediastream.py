"""FreeSWITCH's media modules as values: the commands that start and stop a stream, and what their events say.

Pure. Which stream is wanted and what becomes of it is `bridge.net.freeswitch`'s; the audio is in
`audiostream`. Sources: mod_audio_stream (its HEAD of 2026-01 and its tag v1.0.2) and both mod_audio_forks, by
their recordings in tests/captures/freeswitch. Where they differ:

    after a drop        mod_audio_stream HEAD   error: the stream is gone. disconnect (we closed): stop first
                        mod_audio_stream 1.0.2  disconnect, and it connects again by itself within 2 ms
                        mod_audio_fork          disconnect: stop first
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, StrEnum

from bridge.types import Codec
from bridge.wire.esl import EslEvent
from bridge.wire.pbxevents import PbxError
from bridge.wire.taporder import TapKind, TapOrder
from bridge.wire.tapvalues import checked_host, checked_id, checked_port

TAP_VARIABLE = "rtzr_tap"
"""The channel variable that says that its stream is ours: who finds it may stop it."""
SILENT_VARIABLE = "send_silence_when_idle"
"""Without it a stereo stream is late for the whole call once nothing was played to the party for a while."""
_BUG = "rtzr_bridge"
"""The name of our streams of mod_audio_fork, beside those of others."""
_HEART_BEAT_S = "30"
_LONGEST = 120


class Module(Enum):
    """What is loaded."""

    AUDIO_STREAM = ("mod_audio_stream", "uuid_audio_stream")
    AUDIO_FORK = ("mod_audio_fork", "uuid_audio_fork")

    def __init__(self, label: str, command: str) -> None:
        self.label = label
        self.command = command
        """Of its API; whether FreeSWITCH has it is asked by this name."""

    def start(self, order: TapOrder, *, secure: bool) -> tuple[str, ...]:
        """The words of the command. Raises PbxError for what cannot go into one."""
        mix, rate = _mix(order.kind), order.media.codec.rate
        words = (self.command, checked_id(order.tapped), "start", url(order, secure=secure), mix)
        return (*words, _rate(rate)) if self is Module.AUDIO_STREAM else (*words, str(rate), _BUG)

    def variables(self, kind: TapKind) -> str:
        """What has to be set before, as `uuid_setvar_multi` takes it: mod_audio_stream does not set these two
        of its own by itself, and so would compress and ping as it happens."""
        given = {"STREAM_MESSAGE_DEFLATE": "true", "STREAM_HEART_BEAT": _HEART_BEAT_S}  # true is off
        if self is not Module.AUDIO_STREAM:
            given = {}
        if kind is TapKind.STEREO:
            given[SILENT_VARIABLE] = "-1"
        return ";".join(f"{name}={value}" for name, value in given.items())

    def stop(self, channel: str) -> tuple[str, ...]:
        """As `start`."""
        words = (self.command, checked_id(channel), "stop")
        return words if self is Module.AUDIO_STREAM else (*words, _BUG)

    @property
    def subclasses(self) -> tuple[str, ...]:
        """Of its events that we want."""
        fates = ("connect", "disconnect", "error" if self is Module.AUDIO_STREAM else "connect_failed")
        return tuple(f"{self.label}::{fate}" for fate in fates)


SUBCLASSES = tuple(name for module in Module for name in module.subclasses)


def url(order: TapOrder, *, secure: bool) -> str:
    """Where the stream goes: the key in the path is its pass. Raises PbxError."""
    media = order.media
    scheme = "wss" if secure else "ws"
    return f"{scheme}://{checked_host(media.host)}:{checked_port(media.port)}/{checked_id(media.key)}"


def _mix(kind: TapKind) -> str:
    if kind not in (TapKind.MONO, TapKind.STEREO):
        raise PbxError(f"no stream is {kind}")
    return str(kind)


def _rate(rate: int) -> str:
    """mod_audio_stream has names for two, and takes every multiple of 8000."""
    return {Codec.SLIN.rate: "8k", Codec.SLIN16.rate: "16k"}.get(rate, str(rate))


class Fate(StrEnum):
    """What a module tells of a stream."""

    CONNECTED = "connected"
    LOST = "lost"
    """The connection ended; the old mod_audio_stream makes another one by itself."""
    FAILED = "failed"
    """There is none, and there will be none."""


@dataclass(frozen=True, slots=True)
class StreamNews:
    channel: str
    fate: Fate
    why: str = ""
    alone: bool = True
    """Whether a channel has no other stream of this module: mod_audio_fork may have several, and does not say
    of which it tells."""


_FATES = {
    "connect": Fate.CONNECTED,
    "disconnect": Fate.LOST,
    "error": Fate.FAILED,
    "connect_failed": Fate.FAILED,
}


def news(event: EslEvent) -> StreamNews | None:
    """What an event tells of a stream; None if it is about none, or is an answer to something that we sent
    (mod_audio_fork has an `error` of that kind)."""
    label, _, what = event.subclass.partition("::")
    module = next((one for one in Module if one.label == label), None)
    if module is None or event.subclass not in module.subclasses:
        return None
    if event.body and module is Module.AUDIO_FORK and what == "disconnect":
        return None  # a server's text, after which it goes on (fork-jambonz-08); the end of one has no body
    channel = event.headers.get("Unique-ID", "")
    alone = module is Module.AUDIO_STREAM
    return StreamNews(channel, _FATES[what], _why(event.body), alone) if channel else None


def _why(body: str) -> str:
    """The module's own words, if it has any; no URL, for the key is in it."""
    try:
        told = json.loads(body)
    except (ValueError, RecursionError):
        return ""
    message = told.get("message", told) if isinstance(told, Mapping) else {}
    if not isinstance(message, Mapping):
        return ""
    text = str(message.get("error") or message.get("reason") or "").partition(" connecting to ")[0]
    code = message.get("code", message.get("http_status", ""))
    return f"{text} {code}".strip()[:_LONGEST]
