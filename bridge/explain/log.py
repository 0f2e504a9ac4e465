"""`rtzr-bridge explain --from-log`: what the rules say of each call of a log, as text or as one document.

Printing only, and the file: the log is read in `wire.eventlog`, and its events are judged in `wire.retold`.
"""

import json
from collections.abc import Container, Sequence
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

import typer

from bridge.config import Config
from bridge.waiting import waited
from bridge.wire import eventlog
from bridge.wire.eventlog import EventLog, Kind, Unread
from bridge.wire.freeswitch import ANNOUNCED
from bridge.wire.retold import Asked, Retold, recorded, retold
from bridge.wire.rules import Facts, Line
from bridge.wire.taporder import tap_prefix

_SIGNS = {True: "hit ", False: "no  ", None: "-   "}
_MOST_TOLD = 20
_CDR_NOTE = (
    "A CDR keeps where a call was last, not where it came in, and neither variables nor whom it dialled: "
    "events say more (docs/rules.md)."
)


class ExplainError(RuntimeError):
    """There is nothing to be explained; the text says why and what to do."""


def tell(file: Path, config: Config, *, json_: bool) -> int:
    """Print every call; the exit code: 0 one or more are transcribed, 1 none is. Raises ExplainError."""
    with waited(f"{file} is read", quiet=json_):
        log, calls = _judged(file, config)
    if json_:
        typer.echo(_json(log, calls))
    else:
        _complain(file, log.unread)
        tested = {one.key for rule in config.rules for one in rule.rule().conditions}
        typer.echo("\n\n".join(_block(call, tested) for call in calls))
        if log.kind is Kind.CDR:
            typer.echo(f"\n{_CDR_NOTE}")
    return 0 if any(call.tapped for call in calls) else 1


def _judged(file: Path, config: Config) -> tuple[EventLog, list[Retold]]:
    """The log, and what the rules say of each of its calls. Raises ExplainError."""
    log = _read(file, frozenset(name for rule in config.rules for name in rule.match.variables))
    if log.kind.pbx != config.pbx:
        raise ExplainError(
            f"--from-log: {file} has {log.kind.value} in it, which are {log.kind.pbx}'s, and pbx is "
            f"{config.pbx}; give a log of that one, or set pbx: {log.kind.pbx} (docs/rules.md)"
        )
    rules, trunks = tuple(rule.rule() for rule in config.rules), config.trunk_contexts
    if log.kind is Kind.CDR:
        calls = recorded(log.rows, rules, trunks)
    else:
        asterisk = config.asterisk
        user_event = ANNOUNCED if log.kind is Kind.ESL else asterisk.user_event
        calls = retold(log.told, rules, trunks, user_event, tap_prefix(asterisk.app))
    if not calls:
        raise ExplainError(
            f"--from-log: {file} has no call in it ({len(log.told)} {log.kind.value} of use, "
            f"{len(log.unread)} not readable); record while one comes in (docs/rules.md)"
        )
    return log, calls


def _read(file: Path, wanted: frozenset[str]) -> EventLog:
    try:
        with file.open(encoding="utf-8-sig", errors="replace", newline="\n") as lines:
            return eventlog.read(lines, wanted)
    except OSError as error:
        raise ExplainError(
            f"--from-log: {file} cannot be read ({error.strerror}); give a file of events"
        ) from None
    except eventlog.EventLogError as error:
        raise ExplainError(f"--from-log: {file} {error}") from None


def _complain(file: Path, unread: Sequence[Unread]) -> None:
    """Beside the answer, so that a pipe has the answer alone."""
    for one in unread[:_MOST_TOLD]:
        typer.echo(f"{file}: {one.place} {one.why}; left out", err=True)
    if len(unread) > _MOST_TOLD:
        typer.echo(f"{file}: and {len(unread) - _MOST_TOLD} more that cannot be read", err=True)


def _block(call: Retold, tested: Container[str]) -> str:
    lines = [f"call {call.call}  {_moment(call.began)}".rstrip()]
    for asked in call.asked:
        lines.append(f"    {_facts(asked.facts, tested)}")
        lines += map(line_of, asked.lines)
    after = "" if call.after_s is None else f" That was known {call.after_s:.1f} s after it came in."
    lines.append(verdict(call.tapped, call.rule, announced=call.announced) + after)
    return "\n".join(lines)


def _moment(began: float | str) -> str:
    if isinstance(began, str):
        return began
    return datetime.fromtimestamp(began).astimezone().isoformat(" ", "milliseconds") if began else ""


def _facts(facts: Facts, tested: Container[str]) -> str:
    """What is known, as `match` names it; of the variables, which are many, those that some rule looks at."""
    known = {name: value for name, value in asdict(facts).items() if value and name != "variables"}
    variables = {f"variables.{name}": value for name, value in facts.variables.items()}
    known |= {name: value for name, value in variables.items() if name in tested}
    return ", ".join(f"{name} {value}" for name, value in known.items()) or "nothing is known of it"


def line_of(line: Line) -> str:
    """What a rule says, for a person."""
    return f"{_SIGNS[line.hit]}{line.rule}: {line.why}"


def verdict(tapped: bool | None, rule: str, *, announced: bool = False) -> str:
    """What comes of it, for a person."""
    if tapped is None:
        return "No rule chooses it: it is transcribed only if the dialplan announces it."
    if announced:
        return "It is transcribed: the dialplan announced it."
    return f"It is transcribed, by {rule}." if tapped else f"It is not: {rule} chose so."


def as_json(line: Line) -> dict[str, Any]:
    """What a rule says, for a script."""
    return {"rule": line.rule, "hit": line.hit, "why": line.why}


def _json(log: EventLog, calls: Sequence[Retold]) -> str:
    document = {
        "log": log.kind.value,
        "calls": [_call(call) for call in calls],
        "unread": [{"place": one.place, "why": one.why} for one in log.unread],
    }
    return json.dumps(document, ensure_ascii=False, indent=2)


def _call(call: Retold) -> dict[str, Any]:
    return {
        "call": call.call,
        "began": _moment(call.began),
        "tapped": bool(call.tapped),
        "rule": call.rule or None,
        "announced": call.announced,
        "after_s": None if call.after_s is None else round(call.after_s, 3),
        "asked": [_asked(one) for one in call.asked],
    }


def _asked(asked: Asked) -> dict[str, Any]:
    return {
        "channel": asked.channel,
        "facts": {name: value for name, value in asdict(asked.facts).items() if value},
        "rules": [as_json(line) for line in asked.lines],
    }
