"""How the emulated RTZR behaves, and what it has counted. Values only."""

from dataclasses import asdict, dataclass


@dataclass(frozen=True, slots=True)
class Knobs:
    """How this RTZR behaves."""

    client_id: str = "demo"
    client_secret: str = "demo-secret"  # noqa: S105 - what the emulator asks for, no one's secret
    auth_delay_ms: float = 0
    connect_delay_ms: float = 0
    engine_speed: float = 5.0
    """Audio worked off, in times real time."""
    recognition_ms: float = 0
    """From a known end of an utterance, its audio worked off, to its final."""
    token_life_s: float = 21600
    max_streams: int = 0
    """Streams at once; 0 for no limit."""
    full_code: str = "A0002"
    """The code of the 429 past the limit: A0001 or A0002, RTZR does not document which."""
    partial_ms: float = 200
    """Audio between two looks at the text for a partial."""
    broken: bool = False
    """Every request and dial is answered 500 E500."""
    file_delay_ms: float = 0
    """From a file's POST to the end of its job."""
    file_max_jobs: int = 0
    """Jobs at work at once; 0 for no limit. One more is answered 429 A0002."""
    file_fail: bool = False
    """Jobs made now fail."""
    file_lost_answer: bool = False
    """A file's job is made, and its connection dropped without an answer."""


DEFAULTS = Knobs()


@dataclass(frozen=True, slots=True)
class Stats:
    tokens_issued: int
    sockets_opened: int
    sockets_open: int
    billed_s: float
    """Seconds of audio of every session, 10 at least for each."""

    def as_dict(self) -> dict[str, float]:
        return asdict(self)
