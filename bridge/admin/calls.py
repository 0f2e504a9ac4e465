"""`rtzr-bridge calls`, `why`, `status` and `drain`: what the daemon does, and what became of a call."""

import sys
from collections.abc import Mapping, Sequence
from shutil import get_terminal_size
from typing import Annotated, Any

import typer
from rich.cells import cell_len

from bridge.admin import completing
from bridge.admin.asking import (
    DEFAULT,
    ConfigOption,
    SocketOption,
    age,
    asked,
    columns,
    part,
    printable,
    show,
)
from bridge.commands.ending import JsonOption
from bridge.watching.words import call_words, clock, length
from bridge.wording import counted

_Json = Mapping[str, Any]
_LONGEST_TEXT = 120
"""Cells."""
_NO_END = 1_000_000
_POINT = "… "
_TITLES = ["  PARTY", "STATE", "LEVEL", "DELAY", "SAID LAST"]


def calls(
    config: ConfigOption = DEFAULT,
    socket: SocketOption = None,
    json_: JsonOption = False,
    all_: Annotated[bool, typer.Option("--all", help="Those that ended last, too.")] = False,
) -> None:
    """Show the calls in progress: each party, how it stands, and what it said last.

    DELAY is that of the last final. Numbers show their last four digits. Exits with 1 if no daemon answers.
    """
    answer = asked("calls", config, socket, "/calls", as_json=json_)
    if not all_:
        answer["calls"] = [call for call in answer["calls"] if call["state"] == "live"]
    width = get_terminal_size((0, 0)).columns if sys.stdout.isatty() else 0
    show(answer, lambda: _listed(answer["calls"], width, all_=all_), as_json=json_)


def _listed(found: Sequence[_Json], width: int, *, all_: bool = False) -> str:
    """A line for each call and one for each of its parties; no longer than `width`, if that is not 0."""
    if not found:
        return "no call is known yet" if all_ else "no call is in progress; --all shows those that ended"
    rows = [_TITLES, *(_leg(leg) for call in found for leg in call["legs"])]
    starts = columns([[*row[:-1], "."] for row in rows])
    room = width or _NO_END
    legs = [
        start[:-1] + _tail(row[-1], room - cell_len(start) + 1)
        for start, row in zip(starts, rows, strict=True)
    ]
    lines, parties = [legs[0]], iter(legs[1:])
    for call in found:
        lines += [_call(call), *(next(parties) for _ in call["legs"])]
    return "\n".join(line.rstrip() for line in lines)


def _call(call: _Json) -> str:
    state = "paused" if call["paused"] else call["verdict"] or call["state"]
    about = ", ".join([f"rule {call['rule']}"] * bool(call["rule"]) + call["reasons"])
    return "  ".join(filter(None, (printable(call["id"]), clock(call["age_ms"]), state, printable(about))))


def _leg(leg: _Json) -> list[str]:
    level = "" if leg["level_db"] is None else f"{leg['level_db']:.0f} dB"
    late = "" if leg["latency_ms"] is None else f"{leg['latency_ms']} ms"
    who = printable(" ".join(filter(None, (leg["role"], leg["number"], leg["name"]))))
    said = f"{leg['partial']} …" if leg["partial"] else leg["last"]
    lost = f"{length(leg['lost_ms'])} lost  " if leg["lost_ms"] else ""
    return [f"  {who}", leg["state"], level, late, lost + _tail(printable(said), _LONGEST_TEXT)]


def _tail(text: str, cells: int) -> str:
    """Its end, which is what was said last; Hangul is two cells wide."""
    if cell_len(text) <= cells:
        return text
    while text and cell_len(text) > cells - len(_POINT):
        text = text[1:]
    return _POINT + text


def why(
    call: Annotated[
        str,
        typer.Argument(
            help="A call's or a leg's id, or how it begins.",
            show_default=False,
            autocompletion=completing.calls,
        ),
    ],
    config: ConfigOption = DEFAULT,
    socket: SocketOption = None,
    json_: JsonOption = False,
) -> None:
    """Tell the whole story of a call: what happened, what was lost and why, where the time went.

    Live calls and the last 500 that ended are known. Why a call was not chosen at all: rtzr-bridge explain.
    Exits with 1 if no such call is known, more than one begins so, or no daemon answers.
    """
    answer = asked("why", config, socket, f"/calls/{part(call)}", as_json=json_)
    show(answer, lambda: "\n".join(map(printable, call_words(answer))), as_json=json_)


def status(config: ConfigOption = DEFAULT, socket: SocketOption = None, json_: JsonOption = False) -> None:
    """Show how the daemon does: ready or why not, calls, RTZR's channels, what was won and lost today.

    Exits with 1 when it is not ready, or no daemon answers.
    """
    answer = asked("status", config, socket, "/status", as_json=json_)
    show(answer, lambda: "\n".join(_status(answer)), as_json=json_)
    raise typer.Exit(0 if answer["ready"] else 1)


def _status(now: _Json) -> list[str]:
    ready = "ready" if now["ready"] else "NOT READY: " + "; ".join(now["reasons"])
    pbx = now["pbx"]
    quota = "" if now["sessions_quota"] is None else f" of {now['sessions_quota']}"
    rows = [
        ["rtzr-bridge", f"{now['version']}, up for {age(now['uptime_s'])}"],
        ["state", printable(ready)],
        ["PBX", printable(f"connected, {pbx['version']}".rstrip(", ") if pbx["connected"] else pbx["why"])],
        ["calls", f"{now['calls']} with {counted(now['legs'], 'leg')}, {now['paused_calls']} paused"],
        ["RTZR sessions", f"{now['sessions_open']}{quota}"],
        ["today", f"{now['won_today']:.0f} won, {length(now['lost_ms_today'])} of audio lost"],
        ["deliveries", f"{now['deliveries_waiting']} waiting"],
        ["loop lag", f"{now['loop_lag_ms']:.0f} ms"],
    ]
    return columns(rows)


def drain(config: ConfigOption = DEFAULT, socket: SocketOption = None, json_: JsonOption = False) -> None:
    """Let live calls finish, take no new ones, and end the daemon: as SIGTERM does.

    It goes on for drain_s at most; whoever supervises it may start it again.
    Exits with 1 if no daemon answers.
    """
    answer = asked("drain", config, socket, "/drain", {}, as_json=json_)
    show(answer, lambda: f"no new calls; {counted(answer['legs'], 'leg')} may finish", as_json=json_)
