"""How the emulated RTZR behaves, and what it has counted. Values only."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields

from pydantic import TypeAdapter, ValidationError


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
    maintenance: bool = False
    """Every request and dial is answered 503."""
    away: bool = False
    """Every new connection is dropped without an answer."""
    auth_status: int = 0
    """A status that authentication answers with, with `refusal_code`; 0 for none. `dial_status` likewise."""
    dial_status: int = 0
    refusal_code: str = "E500"
    refusal_msg: str = "refused"
    spent: bool = False
    """The quota is spent: every dial is answered 429 A0001."""
    release_ms: float = 0
    """A closed stream's channel counts as taken for so long."""
    close_at_once: bool = False
    """Streams are closed right after a good handshake; with `full_code` "close", those past the limit."""
    close_code: int = 1008
    """With which streams are closed that are not at their end."""
    mute: bool = False
    """Audio is taken, and nothing is said."""
    mute_after_s: float = 0
    """The same after so much audio; 0 for never."""
    read_delay_ms: float = 0
    """Pause before each message is read: the client's connection backs up."""
    idle_s: float = 0
    """Streams without audio for so long are closed, pings or not; 0 for never."""
    longest_s: float = 0
    """Streams of this age are closed; 0 for never."""
    cut_on_expiry: bool = False
    """Streams are closed when their token expires."""
    cut_after_s: float = 0
    """The connection is reset after so much audio; 0 for never."""
    max_speed: float = 0
    """Audio faster than this, in times real time and `burst_s` ahead, closes its stream; 0 bears anything."""
    burst_s: float = 1.0
    noise: bool = False
    """Messages that are no results come before every result."""
    late_final_ms: float = 0
    """How much later a final comes whose end RTZR found by itself."""
    empty_finals: bool = False
    """A final without alternatives and one without text follow each final."""
    partial_duration_ms: int = 0
    """RTZR documents 0 and has been seen to send others."""
    final_early_ms: float = 0
    """Finals say that they end so much before they do."""
    eos: str = "close"
    """What follows the last final: `close`; `stay`, the socket stays open; or, before the finals, `reset`."""
    record: bool = False
    """Everything that is heard is kept in `Emulator.heard`, without bound: for benchmarks."""
    file_delay_ms: float = 0
    """From a file's POST to the end of its job."""
    file_max_jobs: int = 0
    """Jobs at work at once; 0 for no limit. One more is answered 429 A0002."""
    file_fail: bool = False
    """Jobs made now fail."""
    file_lost_answer: bool = False
    """A file's job is made, and its connection dropped without an answer."""


DEFAULTS = Knobs()


def turned(knobs: Knobs, settings: Sequence[str]) -> Knobs:
    """`knobs` with settings as on a command line, `mute=true`. Raises ValueError, which names the mend."""
    values, known = asdict(knobs), [field.name for field in fields(knobs)]
    for setting in settings:
        name, equals, value = setting.partition("=")
        if name not in known:
            raise ValueError(f"{name} is no knob; the knobs are {', '.join(known)}")
        if not equals:
            raise ValueError(f"{name} has no value; give {name}=VALUE")
        values[name] = value
    try:
        return TypeAdapter(Knobs).validate_python(values)
    except ValidationError as error:
        wrong = error.errors(include_url=False)[0]
        raise ValueError(f"{wrong['loc'][0]}: {wrong['msg']}") from None


@dataclass(frozen=True, slots=True)
class Stats:
    tokens_issued: int
    sockets_opened: int
    sockets_open: int
    billed_s: float
    """Seconds of audio of every session, 10 at least for each."""
    dials_refused: int = 0

    def as_dict(self) -> dict[str, float]:
        return asdict(self)
