"""What the shell offers at Tab beyond commands and options: calls, endpoints, rules.

It is asked for between two keystrokes: so it is quick, or says nothing; and whatever is wrong, the command
itself will say.
"""

import contextlib
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import typer

from bridge.admin.asking import DEFAULT, place
from bridge.admin.client import NoAnswer, ask
from bridge.config import ConfigError, load

LONGEST_S = 0.3
"""No daemon is waited for longer."""

Offers = list[tuple[str, str]]
"""What may be written, and what it is, for shells that show it."""


def calls(ctx: typer.Context, incomplete: str) -> Offers:
    """All calls that are known, those in progress first."""
    found = _known_calls(ctx)
    return _offered([*filter(_is_live, found), *(call for call in found if not _is_live(call))], incomplete)


def live_calls(ctx: typer.Context, incomplete: str) -> Offers:
    """The calls in progress."""
    return _offered([call for call in _known_calls(ctx) if _is_live(call)], incomplete)


def heard_calls(ctx: typer.Context, incomplete: str) -> Offers:
    """Those that can be paused."""
    return _offered([call for call in _known_calls(ctx) if _is_live(call) and not call["paused"]], incomplete)


def paused_calls(ctx: typer.Context, incomplete: str) -> Offers:
    """Those that can be resumed."""
    return _offered([call for call in _known_calls(ctx) if _is_live(call) and call["paused"]], incomplete)


def endpoints(ctx: typer.Context, incomplete: str) -> Offers:
    """Where deliveries wait."""
    answer = _asked(ctx, "/deliveries")
    found = [(str(one["name"]), f"{one['waiting']} waiting") for one in answer.get("deliveries", [])]
    return _fitting(found, incomplete)


def rules(ctx: typer.Context, incomplete: str) -> Offers:
    """The rules of the configuration."""
    config = Path(ctx.params.get("config") or DEFAULT)
    try:
        found = load(config, os.environ, pbx=False, rtzr=False).rules
    except ConfigError:
        return []
    return _fitting([(rule.name, "") for rule in found], incomplete)


def _known_calls(ctx: typer.Context) -> list[Mapping[str, Any]]:
    return list(_asked(ctx, "/calls").get("calls", []))


def _is_live(call: Mapping[str, Any]) -> bool:
    return bool(call["state"] == "live")


def _offered(found: list[Mapping[str, Any]], incomplete: str) -> Offers:
    return _fitting([(str(call["id"]), ", ".join(_about(call))) for call in found], incomplete)


def _about(call: Mapping[str, Any]) -> Iterator[str]:
    yield "paused" if call["paused"] else str(call["verdict"] or call["state"])
    if call["rule"]:
        yield f"rule {call['rule']}"
    yield from (f"{leg['role']} {leg['number']}".strip() for leg in call["legs"])


def _fitting(found: Offers, incomplete: str) -> Offers:
    """Those that go on as was begun. None that could move the cursor: names are the network's."""
    return [(name, told) for name, told in found if name.startswith(incomplete) and name.isprintable()]


def _asked(ctx: typer.Context, what: str) -> dict[str, Any]:
    """The daemon's answer; empty where there is none in time."""

    def answer() -> dict[str, Any]:
        socket = ctx.params.get("socket")
        path = place(Path(ctx.params.get("config") or DEFAULT), None if socket is None else Path(socket))
        return ask(path, what)

    return _in_time(answer)


def _in_time(work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What `work` returns, or nothing; what takes too long is left behind, as the process ends anyhow."""
    got: list[dict[str, Any]] = []

    def run() -> None:
        with contextlib.suppress(ConfigError, NoAnswer):
            got.append(work())

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(LONGEST_S)
    return got[0] if got else {}
