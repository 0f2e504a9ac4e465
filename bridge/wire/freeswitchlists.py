"""What FreeSWITCH answers when it is asked what it has: `show channels` and `show calls`, in the words of
`pbxevents`.

Pure. What its events say is in `freeswitch`, what is asked when in `bridge.net.freeswitch`. Source:
switch_core_sqldb.c for what they list.
"""

import json
import re
from collections.abc import Mapping
from typing import Any

from bridge.wire.freeswitch import (
    PLACEHOLDER,
    application_of,
    bridge_id,
    conference_id,
    context_of,
    needed,
    seconds,
)
from bridge.wire.pbxevents import Bridge, Channel, PbxError

_HEARD = ("ACTIVE", "HELD", "UNHELD")


def rows_of(text: str) -> list[dict[str, str]]:
    """The rows of a `show ... as json`. Raises PbxError."""
    try:
        told = json.loads(text)
        rows: list[dict[str, Any]] = told.get("rows", [])
        return [{name: str(value) for name, value in row.items()} for row in rows]
    except (ValueError, AttributeError, RecursionError):
        raise PbxError("list of the PBX that is not JSON") from None


def listed(row: Mapping[str, str], *, up: bool, called: bool) -> Channel:
    """A channel of `show channels`; `up`: whether somebody hears it. Raises PbxError."""
    outbound = row.get("direction") == "outbound"
    number = (row.get("callee_num") or row.get("dest", "")) if outbound else row.get("cid_num", "")
    name = row.get("callee_name", "") if outbound else row.get("cid_name", "")
    created = row.get("created_epoch", "")
    state = "Up" if up and row.get("callstate") in _HEARD else "Down" if outbound else "Ring"
    return Channel(
        id=needed(row, "uuid"),
        name=row.get("name", ""),
        state=state,
        number=number,
        caller_name="" if name == PLACEHOLDER else name,
        created=seconds(f"{created}000000"),
        application=application_of(called),
        application_data="",
        context=context_of(row.get("name", ""), row.get("context", ""), called),
        extension=row.get("dest", ""),
    )


def bridges_of(rows: list[dict[str, str]]) -> tuple[Bridge, ...]:
    """Who is with whom, by `show calls`."""
    pairs = [(row.get("uuid", ""), row.get("b_uuid", "")) for row in rows]
    return tuple(Bridge(bridge_id(a, b), frozenset((a, b))) for a, b in pairs if a and b)


def conferences_of(rows: list[dict[str, str]]) -> tuple[Bridge, ...]:
    """Who is in a conference with whom, or alone, by `show channels`.

    Source: mod_conference.c: its arguments are `name@profile+pin+flags{...}`, or `bridge:name:...`.
    """
    members: dict[str, set[str]] = {}
    for row in rows:
        if row.get("application") != "conference":
            continue
        arguments = row.get("application_data", "")
        bare = arguments.removeprefix("bridge:")
        end = r"[@+]" if bare == arguments else ":"
        if name := re.split(end, bare, maxsplit=1)[0]:
            members.setdefault(name, set()).add(row.get("uuid", ""))
    return tuple(Bridge(conference_id(name), frozenset(ids)) for name, ids in members.items())
