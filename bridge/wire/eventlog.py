"""A log of what a PBX told, as an administrator has one, read into the events that the bridge would have had.

Pure: text in, events out. It takes ARI's events (JSON, an object a line or one list), AMI's as they come out
of the socket, the rows of a CDR (Master.csv), and FreeSWITCH's events (ESL: JSON, an object a line or as
they come out of the socket). What can be learnt from them is `retold`'s.
"""

import csv
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from bridge.types import CallId
from bridge.wire import ami, ari, esl
from bridge.wire.freeswitch import Follower
from bridge.wire.pbxevents import PbxError, PbxEvent

_GREETING = "Asterisk Call Manager"
_CDR_COLUMNS = range(16, 25)
"""Of Master.csv: 16, then uniqueid and userfield, then three more with `newcdrcolumns`."""
_LINKEDID = 19


class Kind(Enum):
    """What a log is, and how an administrator calls it."""

    ARI = "ARI events"
    AMI = "AMI events"
    CDR = "CDR rows"
    ESL = "ESL events"

    @property
    def pbx(self) -> str:
        """Whose it is, as the configuration names it."""
        return "freeswitch" if self is Kind.ESL else "asterisk"


class EventLogError(ValueError):
    """The log is none; the text says why and what to give."""


@dataclass(frozen=True, slots=True)
class Told:
    """One event, and the linkedids that the PBX told with it, by channel id."""

    event: PbxEvent
    linkedids: Mapping[str, CallId] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Row:
    """A record of a call that is over, as far as it is of use to a rule."""

    call: CallId
    began: str
    """By the PBX's clock, as it writes it."""
    context: str
    extension: str = field(repr=False)
    caller: str = field(repr=False)
    channel: str
    queue: str = ""


@dataclass(frozen=True, slots=True)
class Unread:
    """What cannot be read: which line (or item of a list), and why."""

    place: str
    why: str


@dataclass(frozen=True, slots=True)
class EventLog:
    """All of it; `rows` of a CDR, else `told`."""

    kind: Kind
    told: tuple[Told, ...] = ()
    rows: tuple[Row, ...] = ()
    unread: tuple[Unread, ...] = ()


def read(lines: Iterable[str], wanted: frozenset[str] = frozenset()) -> EventLog:
    """A whole log; of FreeSWITCH's channel variables, those that are `wanted`. Raises EventLogError where
    nothing in it is of a kind that is known."""
    texts = list(lines)
    kind = next((found for line in texts if (found := _kind(line.strip())) is not None), None)
    if kind is None:
        raise EventLogError(
            "has neither ARI's events (JSON) nor AMI's ('Event: ...') nor CDR rows in it, nor FreeSWITCH's "
            "events (ESL, JSON); "
            "docs/rules.md says how to record some"
        )
    entries: list[Told | Row | Unread] = list(
        _esl(texts, wanted) if kind is Kind.ESL else _READERS[kind](texts)
    )
    return EventLog(
        kind,
        tuple(one for one in entries if isinstance(one, Told)),
        tuple(one for one in entries if isinstance(one, Row)),
        tuple(one for one in entries if isinstance(one, Unread)),
    )


def _kind(line: str) -> Kind | None:
    """What a line is of, if it can be of one kind only."""
    if line.startswith("{") and '"Event-Name"' in line:
        return Kind.ESL
    if line == "[" or line.startswith("[{") or (line.startswith("{") and '"type"' in line):
        return Kind.ARI
    if line.startswith((_GREETING, "Event: ", "Response: ")):
        return Kind.AMI
    if line.startswith('"') and len(_columns(line)) in _CDR_COLUMNS:
        return Kind.CDR
    return None


# ARI.


def _ari(lines: list[str]) -> Iterator[Told | Unread]:
    first = next((line.strip() for line in lines if line.strip()), "")
    places = _items(lines) if first.startswith("[") else _objects(lines)
    for place, text in places:
        try:
            event = ari.parse(text)
        except PbxError as error:
            yield Unread(place, f"is no event of ARI: {error}")
            continue
        if event is not None and not isinstance(event, ari.ApplicationReplaced):
            yield Told(event)


def _objects(lines: list[str]) -> Iterator[tuple[str, str]]:
    for number, line in enumerate(lines, 1):
        if line.strip():
            yield f"line {number}", line.strip()


def _items(lines: list[str]) -> Iterator[tuple[str, str]]:
    """Of one list, over as many lines as it likes."""
    try:
        items = json.loads("".join(lines))
    except json.JSONDecodeError as error:
        raise EventLogError(
            f"begins as a list and is no JSON (line {error.lineno}); give it whole, or an object a line"
        ) from None
    except (ValueError, RecursionError):
        raise EventLogError("begins as a list and is no JSON; give an object a line") from None
    for number, item in enumerate(items, 1):
        yield f"item {number}", json.dumps(item)


# AMI.


def _ami(lines: list[str]) -> Iterator[Told | Unread]:
    """Messages are headers, a line each, up to an empty line; what is no event (a reply) is passed over."""
    reader, message, began = ami.Reader(), dict[str, Any](), 1
    for number, line in enumerate([*lines, ""], 1):
        text = line.rstrip("\r\n")
        if not text:
            yield from _event(reader, message, began)
            message, began = {}, number + 1
            continue
        name, colon, value = text.partition(":")
        if colon and name:
            _add(message, name, value.removeprefix(" "))
        elif not text.startswith(_GREETING):
            yield Unread(f"line {number}", "is no 'Header: value' of AMI")


def _add(message: dict[str, Any], name: str, value: str) -> None:
    if name not in message:
        message[name] = value
    elif isinstance(message[name], list):
        message[name].append(value)
    else:
        message[name] = [message[name], value]


def _event(reader: ami.Reader, message: dict[str, Any], line: int) -> Iterator[Told | Unread]:
    if "Event" not in message:
        return
    try:
        event = reader.event(message, _stamp(message))
    except PbxError as error:
        yield Unread(f"line {line}", f"is no whole event of AMI: {error}")
        return
    if event is not None:
        pairs = [("Uniqueid", "Linkedid"), ("DestUniqueid", "DestLinkedid")]
        yield Told(event, {str(message[one]): str(message[of]) for one, of in pairs if message.get(of)})


def _stamp(message: Mapping[str, Any]) -> float:
    """Unix seconds; 0 without `timestampevents` in manager.conf."""
    try:
        return float(message.get("Timestamp", 0))
    except (TypeError, ValueError):
        return 0.0


# ESL.


def _esl(lines: list[str], wanted: frozenset[str]) -> Iterator[Told | Unread]:
    """Events are lines that begin with a brace. Out of the socket there are headers between them, the first
    of which is on the line of the event before it."""
    follower, decoder = Follower(wanted), json.JSONDecoder(strict=False)
    for number, line in enumerate(lines, 1):
        text = line.strip()
        if not text.startswith("{"):
            continue
        try:
            _, end = decoder.raw_decode(text)
            event = esl.event_of(esl.Message(esl.EVENT_JSON, {}, text[:end].encode()))
            yield from map(Told, follower.take(event))
        except PbxError as error:
            yield Unread(f"line {number}", f"is no event of ESL: {error}")
        except (ValueError, RecursionError):
            yield Unread(f"line {number}", "is no event of ESL: not JSON")


# CDR.


def _cdr(lines: list[str]) -> Iterator[Row | Unread]:
    seen: set[CallId] = set()
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        columns = _columns(line)
        if len(columns) not in _CDR_COLUMNS:
            yield Unread(f"line {number}", f"has {len(columns)} columns, and a CDR row 16 to 21")
            continue
        row = _row(columns, f"line {number}")
        if row.call not in seen:  # the first row is of the caller's first leg
            seen.add(row.call)
            yield row


def _columns(line: str) -> list[str]:
    try:
        return next(csv.reader([line.rstrip("\r\n")]), [])
    except csv.Error:
        return []


def _row(columns: list[str], place: str) -> Row:
    """accountcode, src, dst, dcontext, clid, channel, dstchannel, lastapp, lastdata, start, answer, end,
    duration, billsec, disposition, amaflags, uniqueid, userfield, peeraccount, linkedid, sequence."""
    _, src, dst, dcontext, _, channel, _, lastapp, lastdata, start = columns[:10]
    calls = [columns[at] for at in (_LINKEDID, 16) if len(columns) > at and columns[at]]
    return Row(
        call=calls[0] if calls else place,
        began=start,
        context=dcontext,
        extension=dst,
        caller=src,
        channel=channel,
        queue=lastdata.partition(",")[0] if lastapp == "Queue" else "",
    )


_READERS = {Kind.ARI: _ari, Kind.AMI: _ami, Kind.CDR: _cdr}
