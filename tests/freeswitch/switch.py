"""The state that a replay has reached, and FreeSWITCH's answers from it to who asks.

Pure: events in, texts out. The columns are those of `show channels` and `show calls` of 1.10.
"""

import json
from dataclasses import dataclass, field
from typing import Any

from tests.freeswitch.recording import Headers

_CHANNEL = {
    "direction": "Call-Direction",
    "name": "Channel-Name",
    "cid_name": "Caller-Caller-ID-Name",
    "cid_num": "Caller-Caller-ID-Number",
    "ip_addr": "Caller-Network-Addr",
    "dest": "Caller-Destination-Number",
    "application": "variable_current_application",
    "application_data": "variable_current_application_data",
    "dialplan": "Caller-Dialplan",
    "context": "Caller-Context",
    "read_codec": "Channel-Read-Codec-Name",
    "read_rate": "Channel-Read-Codec-Rate",
    "read_bit_rate": "Channel-Read-Codec-Bit-Rate",
    "write_codec": "Channel-Write-Codec-Name",
    "write_rate": "Channel-Write-Codec-Rate",
    "write_bit_rate": "Channel-Write-Codec-Bit-Rate",
    "hostname": "FreeSWITCH-Hostname",
    "callstate": "Channel-Call-State",
    "callee_name": "Caller-Callee-ID-Name",
    "callee_num": "Caller-Callee-ID-Number",
    "call_uuid": "Channel-Call-UUID",
    "initial_cid_name": "Caller-Caller-ID-Name",
    "initial_cid_num": "Caller-Caller-ID-Number",
    "initial_dest": "Caller-Destination-Number",
    "initial_context": "Caller-Context",
}
_EMPTY = ("secure", "presence_id", "presence_data", "accountcode", "callee_direction")


@dataclass(slots=True)
class Switch:
    """Channels and calls that are up now. Uuids are the replay's."""

    channels: dict[str, Headers] = field(default_factory=dict)
    """Uuid -> all that its events have told of it."""
    calls: dict[str, str] = field(default_factory=dict)
    """A leg -> B leg, of those that are bridged."""

    def see(self, event: Headers) -> None:
        """An event has happened, whether anybody hears of it or not."""
        name, uuid = event["Event-Name"], event.get("Unique-ID", "")
        if name == "CHANNEL_CREATE":
            self.channels[uuid] = {}
        if uuid in self.channels:
            self.channels[uuid] |= event
        if name == "CHANNEL_BRIDGE":
            self.calls[event["Bridge-A-Unique-ID"]] = event["Bridge-B-Unique-ID"]
        elif name == "CHANNEL_UNBRIDGE":
            self.calls.pop(event["Bridge-A-Unique-ID"], None)
        elif name == "CHANNEL_DESTROY":
            self.channels.pop(uuid, None)

    def clear(self) -> None:
        """FreeSWITCH is another process now."""
        self.channels.clear()
        self.calls.clear()

    def set(self, uuid: str, name: str, value: str) -> None:
        self.channels[uuid][f"variable_{name}"] = value

    def variable(self, uuid: str, name: str) -> str:
        """What uuid_getvar says."""
        if uuid not in self.channels:
            return "-ERR No such channel!\n"
        found = self.channels[uuid].get(f"variable_{name}", "_undef_")
        return "|:".join(["ARRAY::" + found[0], *found[1:]]) if isinstance(found, list) else str(found)

    def show_channels(self) -> str:
        return _rows([_channel(uuid, told) for uuid, told in self.channels.items()])

    def show_calls(self) -> str:
        """Bridged pairs, and channels that are in none."""
        rows = []
        for uuid, told in self.channels.items():
            if uuid in self.calls.values():
                continue
            peer = self.calls.get(uuid, "")
            b_leg = _channel(peer, self.channels[peer]) if peer in self.channels else _channel("", {})
            created = {"call_created_epoch": _epoch(told) if peer else ""}
            rows.append(_channel(uuid, told) | {f"b_{name}": v for name, v in b_leg.items()} | created)
        return _rows(rows)


def _channel(uuid: str, told: Headers) -> dict[str, str]:
    row = {column: str(told.get(header, "")) for column, header in _CHANNEL.items()}
    state = str(told.get("Channel-State", ""))
    return {
        "uuid": uuid,
        "created": str(told.get("Event-Date-Local", "")),
        "created_epoch": _epoch(told),
        "state": state,
        **dict.fromkeys(_EMPTY, ""),
        **row,
    }


def _epoch(told: Headers) -> str:
    created = str(told.get("Caller-Channel-Created-Time", ""))
    return str(int(created) // 1_000_000) if created else ""


def _rows(rows: list[dict[str, str]]) -> str:
    shown: dict[str, Any] = {"row_count": len(rows)}
    return json.dumps(shown | ({"rows": rows} if rows else {}))
