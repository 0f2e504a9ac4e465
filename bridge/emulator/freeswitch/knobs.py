"""What the emulated FreeSWITCH is and does wrong: values only."""

from dataclasses import dataclass
from enum import StrEnum


class Module(StrEnum):
    """Which media module is loaded. They differ in what they do after a drop."""

    AUDIO_STREAM = "mod_audio_stream"
    """As its HEAD of 2026-01: never reconnects; keeps a stream that the server closed, until `stop`."""
    AUDIO_STREAM_OLD = "mod_audio_stream v1.0.2"
    """Up to v1.0.2: connects again within 2 ms whatever the close, with the metadata once more."""
    AUDIO_FORK = "mod_audio_fork"
    """drachtio's and jambonz': never reconnects; keeps a lost stream, until `stop`."""
    NONE = ""

    @property
    def file(self) -> str:
        """As `module_exists` knows it."""
        return self.value.partition(" ")[0]

    @property
    def command(self) -> str:
        """The `api` command that it brings."""
        return self.file.replace("mod_", "uuid_")


@dataclass(frozen=True, slots=True)
class SwitchKnobs:
    """Read anew at every use: `switch.knobs = replace(switch.knobs, ...)` takes effect at once."""

    password: str = "ClueCon"  # noqa: S105 - the one that FreeSWITCH ships with
    module: Module = Module.AUDIO_STREAM
    also_loaded: tuple[Module, ...] = ()
    """Further media modules that `module_exists` knows of; none of their commands is."""
    loopback: bool = True
    """Whether mod_loopback is loaded."""
    version: str = "1.10.12-release"
    ahead_s: int = 0
    """By how much its clock is ahead, as `strepoch` tells."""
    settings: tuple[tuple[str, str], ...] = ()
    """Global variables, name and value."""
    acl_refuses: bool = False
    """Every connection is turned away before it may log in."""
    reply_delay_s: float = 0.0
    """Before each answer to `api`."""
    swallow: tuple[str, ...] = ()
    """`api` commands that begin with one of these are carried out and never answered."""
    refuse_start: bool = False
    """`start` of a stream answers `-ERR Operation Failed`."""
    connect_delay_s: float = 0.0
    """From `+OK Success` to the stream's connection."""
    never_connect: bool = False
    """`+OK Success`, and then neither a connection nor an event."""
    connect_twice: bool = False
    """A stream opens two connections to one URL, and sends by the second."""
    mute: bool = False
    """Streams connect and send nothing."""
    tone_off_hz: int = 0
    """How much higher than asked for the tones of `tone_stream` are."""
    connect_timeout_s: float = 1.0
    """What a connection and its upgrade may take, as in mod_audio_stream."""


DEFAULTS = SwitchKnobs()
