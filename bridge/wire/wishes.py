"""What the PBX says of pausing: by its dialplan's events, by a channel's variable, by keys of a telephone.

Pure. Whose call a channel is in, and what a wish does to it, is `bridge.calls.pauses`' concern.
"""

from collections.abc import Container
from dataclasses import dataclass, field
from enum import StrEnum

from bridge.wire import pbxevents as pbx

VARIABLE = "RTZR_PAUSE"
"""The channel variable: 1 while its call is paused, 0 once it was resumed. It outlives the bridge."""
_NO = ("0", "no", "off", "false")
_BETWEEN_S = 3.0
"""Keys that follow each other more slowly belong to nothing."""


class By(StrEnum):
    """Who paused or resumed a call."""

    CONSENT = "consent"
    """Its rule: it begins so."""
    PAGE = "page"
    COMMAND = "command"
    """Or HTTP on the control socket."""
    EVENT = "event"
    """The dialplan's, as the next one."""
    VARIABLE = "variable"
    KEYS = "keys"


@dataclass(frozen=True, slots=True)
class WishWays:
    """By what a call is paused and resumed from the PBX's side; what is empty is no way."""

    pause_event: str = ""
    resume_event: str = ""
    variable: bool = False
    """Whether the PBX tells of variables as they are set."""
    pause_keys: str = ""
    resume_keys: str = ""


@dataclass(frozen=True, slots=True)
class Wish:
    channel: str
    paused: bool | None
    """None: as the call began. The variable is empty, and says nothing any more."""
    by: By


def paused_by(value: str) -> bool | None:
    """What the variable's value means; what is not understood is a pause, and an empty one nothing (None): a
    dialplan may have it from a variable that it never set, and that is no consent."""
    said = value.strip().lower()
    return said not in _NO if said else None


@dataclass(slots=True)
class Wishes:
    """By channel, what was wished last, also of one that is no leg yet."""

    ways: WishWays
    noted: int = 0
    """How many there were: a number for each."""
    _known: dict[str, tuple[bool | None, int]] = field(default_factory=dict)
    """And the number of each channel's last one."""
    _keys: dict[str, tuple[float, str]] = field(default_factory=dict, repr=False)
    """Of each channel, when the last key was pressed, and as many as the longest sequence has."""

    def take(self, event: pbx.PbxEvent) -> Wish | None:
        """A wish, if the event is one."""
        wish = self._read(event)
        if wish is not None:
            self.note(wish.channel, wish.paused)
        elif isinstance(event, pbx.ChannelDestroyed):
            self.drop(event.channel.id)
        return wish

    def _read(self, event: pbx.PbxEvent) -> Wish | None:
        ways = self.ways
        match event:
            case pbx.ChannelUserevent(channel=pbx.Channel(id=id_), name=name) if name:
                if name in (ways.pause_event, ways.resume_event):
                    return Wish(id_, name == ways.pause_event, By.EVENT)
            case pbx.ChannelVarset(channel=pbx.Channel(id=id_), variable=name, value=value) if ways.variable:
                if name.lstrip("_") == VARIABLE:  # for `Set(__RTZR_PAUSE=1)`, the event's name has them
                    return Wish(id_, paused_by(value), By.VARIABLE)
            case pbx.ChannelDtmfReceived(channel=pbx.Channel(id=id_), digit=digit):
                return self._pressed(id_, digit, event.at)
        return None

    def _pressed(self, channel: str, digit: str, at_s: float) -> Wish | None:
        before_s, keys = self._keys.get(channel, (at_s, ""))
        longest = max(len(self.ways.pause_keys), len(self.ways.resume_keys))
        keys = ((keys if at_s - before_s <= _BETWEEN_S else "") + digit.upper())[-longest:] if longest else ""
        self._keys[channel] = at_s, keys
        for wanted, paused in ((self.ways.pause_keys, True), (self.ways.resume_keys, False)):
            if wanted and keys.endswith(wanted):
                self._keys[channel] = at_s, ""
                return Wish(channel, paused, By.KEYS)
        return None

    def note(self, channel: str, paused: bool | None) -> None:
        """The channel's call is paused or resumed, and the variable says so; None: it says nothing."""
        self.noted += 1
        self._known[channel] = paused, self.noted

    def of(self, channel: str) -> bool | None:
        """What was wished last on it; None: nothing."""
        return self._known.get(channel, (None, 0))[0]

    def newer(self, channel: str, number: int) -> bool:
        """Whether something was wished on it after wish `number`."""
        return self._known.get(channel, (None, 0))[1] > number

    def keep(self, channels: Container[str], number: int) -> None:
        """All others are gone, but for those of which something was wished after wish `number`."""
        for one in self._known.keys() | self._keys.keys():
            if one not in channels and not self.newer(one, number):
                self.drop(one)

    def drop(self, channel: str) -> None:
        """It is gone."""
        self._known.pop(channel, None)
        self._keys.pop(channel, None)
