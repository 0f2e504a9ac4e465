"""What is known of a call, in words: from the JSON that the daemon answers to the lines that a person reads.

Pure. English; texts of parties are left as they are.
"""

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from statistics import median
from typing import Any

from rich.cells import cell_len

from bridge.wire.fates import MISSED
from bridge.wording import counted

Json = Mapping[str, Any]

_LOST = {
    "ring": "RTZR was away for longer than audio is kept (media.ring_s)",
    "refused": "RTZR refused the leg for good",
    "evicted": "a call of higher priority had its channel",
    "drain": "the call was over, and so was the time for the rest (hangup)",
}
_FLAWS = {
    "not tapped": "no tap ever stood: see 'not tapped' above, and rtzr-bridge check",
    "tapped late": "the party had been up for a while when its tap began",
    "tap interrupted": "the tap ended alone, and was put back",
    "pbx away": "the PBX was away when the tap ended",
    "joined late": "the call was there before the bridge was",
    "worker lost": "the process that heard it was lost",
    "packets dropped": "audio came faster than it could be taken in",
    "stopped": "the bridge was stopped",
    "failed": "a fault of the bridge's: see its log",
    "drain": "the last words were not awaited any longer",
}
_BROKEN = ("session lost", "session mute", "session evicted")
_WORTH_TELLING_MS = 500
_ROUNDING_MS = 5
_WHO = 8
"""The least width of who it is, in cells."""
_BY = {
    "consent": "its rule asks for consent first",
    "page": "on the page",
    "command": "by a command",
    "event": "by the dialplan",
    "variable": "by the channel's variable",
    "keys": "by keys on the telephone",
}
_SESSIONS = {
    "session done": "RTZR has said its last word",
    "session late": "RTZR's last word was not awaited any longer (hangup.drain_ms)",
    "session lost": "session lost; what it had not told goes out again",
    "session mute": "RTZR took speech and said nothing; a new session is tried",
    "session rotated": "the session was old; a new one follows",
    "session evicted": "the channel goes to a call of higher priority",
}


def call_words(call: Json) -> list[str]:
    """The whole story of a call, as of `GET /calls/ID`: what happened, what was lost and why, where the time
    went, and what is still to be delivered."""
    names = _names(call["legs"])
    lines = [head(call), *(f"  {line}" for line in _parties(call["legs"], names))]
    if call.get("legs_dropped"):
        lines.append(f"  (not kept: {call['legs_dropped']} that ended earlier)")
    lines.append("")
    if call.get("timeline_dropped"):
        lines.append(f"(the first {call['timeline_dropped']} things that happened are not kept)")
    width = max(_WHO, *map(cell_len, names.values()))
    lines += [_line(note, names, width) for note in call["timeline"]]
    for title, told in (
        ("What was lost", losses(call, names)),
        ("Where the time went", times(call, names)),
        ("Deliveries", deliveries(call)),
    ):
        lines += ["", f"{title}:", *(f"  {line}" for line in told)]
    return lines


def head(call: Json) -> str:
    """A call in a line."""
    rule = f", rule {call['rule']}" if call["rule"] else ", announced by the dialplan"
    began = f"call {call['id']}, since {call['started']}{rule}"
    if call["state"] == "live":
        paused = "; paused" if call["paused"] else ""
        return f"{began}: live for {length(call['age_ms'])}{paused}"
    why = f" ({', '.join(call['reasons'])})" if call["reasons"] else ""
    won = "" if call["cost"] is None else f", {call['cost']['won']:.2f} won"
    return f"{began}: ended after {length(call['age_ms'])}, {call['verdict'] or 'unknown'}{why}{won}"


def _names(legs: Iterable[Json]) -> dict[str, str]:
    """How each leg is called: by its role, and by its number where there are several of one."""
    roles = [leg["role"] for leg in legs]
    names = {}
    for leg in legs:
        several = roles.count(leg["role"]) > 1
        names[leg["leg"]] = f"{leg['role']} {leg['number']}".strip() if several else leg["role"]
    return names


def _parties(legs: Iterable[Json], names: Mapping[str, str]) -> list[str]:
    return [
        f"{names[leg['leg']]}: {' '.join(filter(None, (leg['number'], leg['name']))) or 'unknown'}"
        f" ({leg['leg'].rpartition('/')[2]}), {leg['mode'] or 'not heard yet'}, {leg['state']}"
        for leg in legs
    ]


def _line(note: Json, names: Mapping[str, str], width: int) -> str:
    who = names.get(note["leg"] or "", "")
    who += " " * (width - cell_len(who))
    return f"{clock(note['at_ms'])}  {note['kind']:<9}  {who}  {phrase(note)}".rstrip()


def phrase(note: Json) -> str:
    """What happened, with what is worth knowing of it."""
    what, data = note["what"], note["data"]
    match note["kind"]:
        case "utterance":
            return f"“{data['text']}” ({length(data['end_ms'] - data['start_ms'])}, {_final(data)})"
        case "gap":
            spooled = "; it is on the disk, and may follow" if data["spooled"] else ""
            return f"{length(data['ms'])} lost: {_LOST.get(data['reason'], data['reason'])}{spooled}"
        case "packets":
            return f"{what}: {_counted(data)}"
        case "session":
            return _session(what, data)
        case "order" if "by" in data:
            who = f" ({data['who']})" if data.get("who") and data["by"] != "consent" else ""
            return f"{what}: {_BY.get(data['by'], data['by'])}{who}"
    if what == "hung up":
        return f"hung up: {data['means'] or data['cause']}"
    if what == "leg over":
        why = f" ({', '.join(data['reasons'])})" if data["reasons"] else ""
        return f"worked off: {data['verdict']}{why}"
    rest = {key: value for key, value in data.items() if key not in ("call_ms", "bridge")}
    return f"{what} ({_counted(rest)})" if rest else str(what)


def _final(data: Json) -> str:
    if data.get("late"):
        return f"late, from the disk, {length(data['latency_ms'])} after it was said"
    return f"final after {data['latency_ms']} ms"


def _session(what: str, data: Json) -> str:
    if what == "session opened":
        return f"session open after {data['ms']} ms{_parts(data)}"
    if what == "no session":
        until = f", until {clock(data['until_ms'])}" if data["tries"] > 1 else ""
        return f"no session: {data['reason']} ({counted(data['tries'], 'try', 'tries')}{until})"
    if "reason" in data:
        return f"{what}: {data['reason']}"
    return _SESSIONS.get(what, what)


def _parts(data: Json) -> str:
    if "wait_ms" not in data:
        return ""
    return (
        f": {data['wait_ms']} waiting for a channel, {data['token_ms']} for the token, "
        f"{data['connect_ms']} connecting"
    )


def _counted(data: Json) -> str:
    return ", ".join(f"{key} {value}" for key, value in data.items())


def losses(call: Json, names: Mapping[str, str] | None = None) -> list[str]:
    """What was lost, of which leg and why; that nothing was, too. What a pause kept back is none of it."""
    names = _names(call["legs"]) if names is None else names
    lines = []
    for leg in call["legs"]:
        notes = [note for note in call["timeline"] if note["leg"] == leg["leg"]]
        told = _lost_of(leg, notes)
        if leg["lost_ms"] or told:
            lost = length(leg["lost_ms"]) if leg["lost_ms"] else "nothing"
            arrived = f"{lost} of {length(leg['arrived_ms'])} that arrived"
            lines.append(f"{names[leg['leg']]}: {arrived}")
            lines += [f"  {one}" for one in told]
    paused = [
        f"{names[leg['leg']]}: {length(leg['paused_ms'])} kept back by a pause: that is not lost"
        for leg in call["legs"]
        if leg["paused_ms"]
    ]
    return (lines or ["nothing, as far as is known"]) + paused


def _lost_of(leg: Json, notes: Sequence[Json]) -> list[str]:
    by_reason: dict[str, int] = {}
    flaws: list[str] = []
    late = 0
    for note in notes:
        data = note["data"]
        if note["kind"] == "gap":
            by_reason[data["reason"]] = by_reason.get(data["reason"], 0) + data["ms"]
        elif note["what"] == "leg over":
            flaws += [f"{one}: {_FLAWS[one]}" for one in data["reasons"] if one in _FLAWS]
        late += bool(data.get("late")) and note["kind"] == "utterance"
    gaps = [f"{length(ms)}: {_LOST.get(reason, reason)}" for reason, ms in by_reason.items()]
    if (untold := leg["lost_ms"] - sum(by_reason.values())) > _ROUNDING_MS:
        gaps.append(f"{length(untold)}: earlier than what is kept above")
    coming, missed = _packets_missed(leg, notes)
    on_the_way = [f"on the way from the PBX: of {coming} packets {_counted(missed)}"] if missed else []
    found = [f"of it, {counted(late, 'text')} came late, from the disk"] if late else []
    return [*gaps, *found, *on_the_way, *flaws]


def _packets_missed(leg: Json, notes: Sequence[Json]) -> tuple[int, dict[str, int]]:
    """How many should have come, and by fate those missed, of all the taps that the leg has had; of the one
    that it has now, what is known by now."""
    counts = [note["data"] for note in notes if note["what"] == "packets in all"]
    if leg["packets"] and leg["packets"] not in counts[-1:]:
        counts.append(leg["packets"])
    sums = {fate: sum(one.get(fate, 0) for one in counts) for fate in MISSED}
    coming = sums["lost"] + sum(one.get("received", 0) for one in counts)
    return coming, {fate: number for fate, number in sums.items() if number}


def times(call: Json, names: Mapping[str, str] | None = None) -> list[str]:
    """How long each leg waited for RTZR, and for what."""
    names = _names(call["legs"]) if names is None else names
    lines = []
    for leg in call["legs"]:
        notes = [note for note in call["timeline"] if note["leg"] == leg["leg"]]
        lines += [f"{names[leg['leg']]}: {told}" for told in (*_opening(notes), *_waiting(notes))]
    if lines and call.get("timeline_dropped"):
        lines.append("of what is kept above; what came before is not in these sums")
    return lines or ["no session was ever opened"]


def _opening(notes: Sequence[Json]) -> Iterable[str]:
    opened = [note["data"] for note in notes if note["what"] == "session opened"]
    parts = [
        f"{sum(one.get(key, 0) for one in opened)} ms {what}"
        for key, what in (
            ("wait_ms", "waiting for a channel"),
            ("token_ms", "for the token"),
            ("connect_ms", "connecting"),
        )
    ]
    if opened:
        yield f"{counted(len(opened), 'session')}: {', '.join(parts)}"
    turns = [note for note in notes if note["what"] in ("session opened", *_BROKEN)]
    without = sum(
        after["at_ms"] - before["at_ms"]
        for before, after in pairwise(turns)
        if before["what"] in _BROKEN and after["what"] == "session opened"
    )
    if without >= _WORTH_TELLING_MS:
        yield f"{length(without)} without a session, while what was said waited"


def _waiting(notes: Sequence[Json]) -> Iterable[str]:
    finals = [n["data"] for n in notes if n["kind"] == "utterance" and not n["data"].get("late")]
    delays = [final["latency_ms"] for final in finals]
    if len(delays) == 1:
        yield f"1 final by RTZR: {delays[0]} ms after the speech's end"
    elif delays:
        half = f"half of them within {median(delays):.0f} ms of the speech's end"
        yield f"{len(delays)} finals by RTZR: {half}, all within {max(delays)} ms"


def deliveries(call: Json) -> list[str]:
    """What of the call has yet to reach whom."""
    lines = []
    for one in call.get("deliveries", ()):
        waiting, error = one["waiting"], f" ({one['error']})" if one["error"] else ""
        some = counted(waiting, "event waits", "events wait")
        what = f"{some}, {one['state']}{error}" if waiting else "nothing of this call waits"
        lines.append(f"{one['name']}: {what}")
    return lines or ["no endpoint gets what happens here by an outbox"]


def length(ms: float) -> str:
    """`83250` as `1 min 23 s`, `3200` as `3.2 s`."""
    if ms < 59_950:
        return f"{ms / 1000:.1f} s"
    minutes, rest = divmod(round(ms / 1000), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def clock(ms: int) -> str:
    """`83250` as `01:23.2`."""
    minutes, rest = divmod(max(ms, 0), 60_000)
    return f"{minutes:02d}:{rest // 1000:02d}.{rest % 1000 // 100}"
