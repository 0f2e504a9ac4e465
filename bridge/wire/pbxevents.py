"""The PBX as values: its channels, what happens to them, and how asking it can fail.

Pure, and the same whether ARI or AMI tells it: their texts are read in `ari` and `ami`. The names of the
events are ARI's own.
"""

from dataclasses import dataclass, field

from bridge.types import Party, Role


class PbxError(ValueError):
    """Text of the PBX that cannot be read, or a value that cannot go into a request."""


class Gone(Exception):
    """The PBX has no such channel (any more)."""


class PbxRefused(Exception):
    """The PBX answered with an error."""


class PbxUnreachable(Exception):
    """The PBX did not answer in time, or not at all, or not as it should."""


_NOBODY = (
    "Local/", "Snoop/", "CBAnn/", "CBRec/", "Announcer/", "Recorder/", "Bridge/", "Message/", "Surrogate/",
    "UnicastRTP/", "MulticastRTP/", "AudioSocket/", "WebSocket/", "AudioStream/", "loopback/",
)  # fmt: skip
"""Kinds of channels that the PBX, or a program, makes for its own ends."""


@dataclass(frozen=True, slots=True)
class Channel:
    """A channel as it was when the event or reply was made."""

    id: str
    name: str
    """Technology, peer and counter: `PJSIP/alice-0000002a`, `Local/100@phones-00000001;1`."""
    state: str
    """Down, Ring (it calls), Ringing (it is called), Up, ..."""
    number: str = field(repr=False)
    """The party's own number: the caller's on the caller's channel, the dialled one on the callee's."""
    caller_name: str = field(repr=False)
    created: float
    """Unix seconds by the PBX's clock."""
    application: str
    """What the dialplan runs on it now: Dial, ChanSpy, AppDial (a dialled channel), Stasis, ..."""
    application_data: str = field(repr=False)
    context: str = ""
    extension: str = field(default="", repr=False)
    """Where in the dialplan it is; of a channel that is called, where it would be."""

    @property
    def calls(self) -> bool:
        """Whether it came to us by itself, and was not called."""
        return self.state == "Ring"

    @property
    def dials(self) -> bool:
        """Whether it is calling somebody, or talking to whom it called."""
        return self.application in ("Dial", "Queue")

    @property
    def dialled(self) -> bool:
        """Whether it was called by an application (AppDial, AppQueue) and does nothing of its own."""
        return self.application.startswith("App")

    @property
    def local(self) -> bool:
        """A half of a Local channel: nobody's telephone."""
        return self.name.startswith("Local/")

    @property
    def pair(self) -> str:
        """What both halves of a Local channel are called; of any other, its name."""
        return self.name.removesuffix(";1").removesuffix(";2") if self.local else self.name

    @property
    def person(self) -> bool:
        """Whether somebody's telephone or line is behind it, and not the PBX itself."""
        return not self.name.startswith(_NOBODY)

    @property
    def up(self) -> bool:
        return self.state == "Up"

    def party(self, role: Role) -> Party:
        """Who speaks on it."""
        return Party(role, self.number, self.caller_name, self.name)


LINKEDID, STATE = "CHANNEL(linkedid)", "CHANNEL(state)"
"""What every PBX answers when it is asked for a channel's variable of this name, whether or not it has such
functions: the id of the channel's call, and of a channel that is gone nothing."""


@dataclass(frozen=True, slots=True)
class ChannelCreated:
    at: float
    """Unix seconds by the PBX's clock, in this and every other event."""
    channel: Channel


@dataclass(frozen=True, slots=True)
class ChannelStateChange:
    at: float
    channel: Channel


@dataclass(frozen=True, slots=True)
class ChannelHangupRequest:
    """Somebody wants it gone; it can come twice, and its ChannelDestroyed follows."""

    at: float
    channel: Channel
    cause: int


@dataclass(frozen=True, slots=True)
class ChannelDestroyed:
    at: float
    channel: Channel
    cause: int
    """Q.850: 16 normal clearing, 17 busy, 19 no answer, ..., 0 unknown."""


@dataclass(frozen=True, slots=True)
class ChannelUserevent:
    at: float
    channel: Channel | None
    name: str
    fields: dict[str, str] = field(repr=False)


@dataclass(frozen=True, slots=True)
class ChannelVarset:
    at: float
    channel: Channel | None
    """None: a global variable."""
    variable: str
    value: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class ChannelDtmfReceived:
    """A key was pressed on its telephone: it may be one of a card's number."""

    at: float
    channel: Channel
    digit: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Dial:
    """`peer` is being dialled, by `caller` (None: by an originate)."""

    at: float
    caller: Channel | None
    peer: Channel
    status: str
    """Empty at the beginning, then RINGING, PROGRESS, ANSWER, BUSY, NOANSWER, CANCEL, ..."""


@dataclass(frozen=True, slots=True)
class ChannelCallerId:
    """Its number or name is another now."""

    at: float
    channel: Channel


@dataclass(frozen=True, slots=True)
class ChannelEnteredBridge:
    at: float
    channel: Channel
    bridge: str
    holding: bool = False
    """Whether those in it wait, and do not hear each other (parking)."""


@dataclass(frozen=True, slots=True)
class ChannelLeftBridge:
    at: float
    channel: Channel
    bridge: str


@dataclass(frozen=True, slots=True)
class StasisStart:
    """A channel came into our application: one of ours, or a call that the dialplan sent to us."""

    at: float
    channel: Channel


@dataclass(frozen=True, slots=True)
class StasisEnd:
    """It left again; it need not be gone."""

    at: float
    channel: Channel


@dataclass(frozen=True, slots=True)
class ChannelHold:
    """Its party holds the other; who is held hears music, if the PBX plays any."""

    at: float
    channel: Channel


@dataclass(frozen=True, slots=True)
class ChannelUnhold:
    at: float
    channel: Channel


PbxEvent = (
    ChannelCreated
    | ChannelHold
    | ChannelUnhold
    | ChannelStateChange
    | ChannelHangupRequest
    | ChannelDestroyed
    | ChannelUserevent
    | ChannelVarset
    | ChannelDtmfReceived
    | Dial
    | ChannelEnteredBridge
    | ChannelCallerId
    | ChannelLeftBridge
    | StasisStart
    | StasisEnd
)


def whole_seconds(epoch: str) -> float:
    """What the PBX says the time is: the dialplan's EPOCH, or FreeSWITCH's strepoch. Raises PbxError."""
    if not (epoch.isascii() and epoch.isdigit() and len(epoch) < 15):
        raise PbxError("the PBX's time is not a number")
    return float(epoch)


@dataclass(frozen=True, slots=True)
class PbxInfo:
    """Which PBX answers, and since when: another `started` means that every earlier call is gone."""

    version: str
    entity: str
    """Its entity id; empty where it does not tell."""
    started: float
    """Unix seconds by the PBX's clock."""
    modules: frozenset[str] | None = None
    """Names of those that run, such as `chan_rtp.so`; None where it does not tell."""
    rtp_range: tuple[int, int] | None = None
    """rtpstart and rtpend of its rtp.conf, where it tells."""
    clock: float | None = None
    """What its clock shows, in whole Unix seconds, where it tells."""


@dataclass(frozen=True, slots=True)
class Bridge:
    """Who is with whom."""

    id: str
    channels: frozenset[str]
    """Ids."""
    holding: bool = False
    """As of `ChannelEnteredBridge`."""


@dataclass(frozen=True, slots=True)
class Connected:
    """Events flow from now on; whatever happened before has to be asked for."""

    pbx: PbxInfo


@dataclass(frozen=True, slots=True)
class Disconnected:
    """Events are being missed; a `Connected` follows sooner or later."""

    reason: str
