"""One channel of the emulated FreeSWITCH: what its events' headers and its row of `show channels` say.

Header names and their values are those of the recordings; nothing here sends anything.
"""

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from bridge.emulator.freeswitch.voice import Voice

if TYPE_CHECKING:
    from bridge.emulator.freeswitch.stream import Stream

_STATES = (
    "CS_NEW",
    "CS_INIT",
    "CS_ROUTING",
    "CS_SOFT_EXECUTE",
    "CS_EXECUTE",
    "CS_EXCHANGE_MEDIA",
    "CS_PARK",
    "CS_CONSUME_MEDIA",
    "CS_HIBERNATE",
    "CS_RESET",
    "CS_HANGUP",
    "CS_REPORTING",
    "CS_DESTROY",
    "CS_NONE",
)
_CALLSTATES = ("DOWN", "DIALING", "RINGING", "EARLY", "ACTIVE", "HELD", "RING_WAIT", "HANGUP", "UNHELD")
"""By their numbers."""
Headers = list[tuple[str, str]]
"""In order, and a name may come twice, as in FreeSWITCH's own events."""


def micros() -> int:
    """Unix time in microseconds, as events bear it."""
    return time.time_ns() // 1000


@dataclass(slots=True, eq=False)
class Channel:
    """Mutable, as channels are; `call` and `switch` change it and tell of it."""

    uuid: str
    name: str
    direction: str
    """`inbound`: the party called us; `outbound`: we called it."""
    number: str
    """The caller's, on both legs of a call."""
    caller_name: str
    destination: str
    context: str
    voice: Voice
    callee: str = ""
    """Who was called, on the leg that was put through too."""
    state: str = "CS_INIT"
    callstate: str = "DOWN"
    answer_state: str = "ringing"
    cause: str = ""
    created: int = field(default_factory=micros)
    answered: int = 0
    bridged: int = 0
    ended: int = 0
    call_uuid: str = ""
    other: "Channel | None" = None
    """The leg it belongs to: the originator of an outbound one, the originatee of an inbound one."""
    other_type: str = ""
    peer: "Channel | None" = None
    """With whom it is bridged now."""
    held: bool = False
    parked: bool = False
    application: tuple[str, str] = ("", "")
    """What runs on it and with which arguments, where that is no call's bridge."""
    codec: bool = False
    """Whether its media is set up."""
    variables: dict[str, str] = field(default_factory=dict)
    streams: dict[str, "Stream"] = field(default_factory=dict)
    """Its media bugs, by name; one that was lost may stay."""

    def __post_init__(self) -> None:
        self.call_uuid = self.call_uuid or self.uuid
        self.variables.update(
            direction=self.direction, uuid=self.uuid, call_uuid=self.call_uuid, channel_name=self.name
        )

    @property
    def up(self) -> bool:
        return self.answer_state == "answered"

    def headers(self) -> Headers:
        """What every event of the channel bears."""
        found: Headers = [
            ("Channel-State", self.state),
            ("Channel-Call-State", self.callstate),
            ("Channel-State-Number", str(_STATES.index(self.state))),
            ("Channel-Name", self.name),
            ("Unique-ID", self.uuid),
            ("Call-Direction", self.direction),
            ("Presence-Call-Direction", self.direction),
            ("Channel-HIT-Dialplan", "true" if self.direction == "inbound" else "false"),
            ("Channel-Call-UUID", self.call_uuid),
            ("Answer-State", self.answer_state),
        ]
        if self.cause:
            found.append(("Hangup-Cause", self.cause))
        if self.codec:
            for way in ("Read", "Write"):
                found.append((f"Channel-{way}-Codec-Name", "PCMU"))
                found.append((f"Channel-{way}-Codec-Rate", "8000"))
                found.append((f"Channel-{way}-Codec-Bit-Rate", "64000"))
        found += self._profile("Caller")
        if self.other is not None:
            found.append(("Other-Type", self.other_type))
            found += self.other._profile("Other-Leg")
        return found + [(f"variable_{name}", value) for name, value in self.variables.items()]

    def callstate_number(self) -> str:
        return str(_CALLSTATES.index(self.callstate))

    def _profile(self, prefix: str) -> Headers:
        found = {
            "Direction": self.direction,
            "Logical-Direction": "inbound" if prefix == "Other-Leg" else self.direction,
            "Username": self.number,
            "Dialplan": "XML",
            "Caller-ID-Name": self.caller_name,
            "Caller-ID-Number": self.number,
            "Orig-Caller-ID-Name": self.caller_name,
            "Orig-Caller-ID-Number": self.number,
            "Callee-ID-Name": "Outbound Call" if self.callee else "",
            "Callee-ID-Number": self.callee,
            "Network-Addr": "127.0.0.1",
            "ANI": self.number,
            "Destination-Number": self.destination,
            "Unique-ID": self.uuid,
            "Source": "mod_loopback" if self.name.startswith("loopback/") else "mod_sofia",
            "Context": self.context,
            "Channel-Name": self.name,
            "Profile-Index": "1",
            "Profile-Created-Time": str(self.created),
            "Channel-Created-Time": str(self.created),
            "Channel-Answered-Time": str(self.answered),
            "Channel-Hangup-Time": str(self.ended),
            "Channel-Bridged-Time": str(self.bridged),
            "Screen-Bit": "true",
            "Privacy-Hide-Name": "false",
            "Privacy-Hide-Number": "false",
        }
        return [(f"{prefix}-{name}", value) for name, value in found.items() if value]

    def row(self) -> dict[str, str]:
        """Its row of `show channels`."""
        codec, rate = ("PCMU", "8000") if self.codec else ("", "")
        bits = "64000" if self.codec else ""
        created = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(self.created / 1e6))
        return {
            "uuid": self.uuid,
            "direction": self.direction,
            "created": created,
            "created_epoch": str(self.created // 1_000_000),
            "name": self.name,
            "state": self.state,
            "cid_name": self.caller_name,
            "cid_num": self.number,
            "ip_addr": "127.0.0.1",
            "dest": self.destination,
            "application": self.application[0] or ("bridge" if self.direction == "inbound" else ""),
            "application_data": self.application[1],
            "dialplan": "XML",
            "context": self.context,
            "read_codec": codec,
            "read_rate": rate,
            "read_bit_rate": bits,
            "write_codec": codec,
            "write_rate": rate,
            "write_bit_rate": bits,
            "secure": "",
            "hostname": "vm",
            "presence_id": "",
            "presence_data": "",
            "accountcode": "",
            "callstate": self.callstate,
            "callee_name": "Outbound Call" if self.callee else "",
            "callee_num": self.callee,
            "callee_direction": "",
            "call_uuid": self.call_uuid if self.call_uuid != self.uuid or self.peer is not None else "",
            "sent_callee_name": "",
            "sent_callee_num": "",
            "initial_cid_name": self.caller_name,
            "initial_cid_num": self.number,
            "initial_ip_addr": "127.0.0.1",
            "initial_dest": self.destination,
            "initial_dialplan": "XML",
            "initial_context": self.context,
        }
