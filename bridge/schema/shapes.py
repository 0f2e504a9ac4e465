"""The events as JSON Schema 2020-12: the CloudEvents envelope and, for each type, what is in `data`.

Written by hand, beside `bridge.events`, for it is a promise to receivers: a test makes every event and finds
what is not told here. Receivers should let pass what they do not know: keys and types are added, none is
taken away. No word of 2020-12 that older drafts do not have is used, for AsyncAPI's tools read older ones.
"""

from typing import Any

from bridge.types import Codec, GapReason, Role

Schema = dict[str, Any]

DIALECT = "https://json-schema.org/draft/2020-12/schema"
PARTIAL = "TranscriptPartial"
"""The only one that is not kept: it goes to the live feed and no farther."""


def _object(description: str, optional: tuple[str, ...] = (), /, **properties: Schema) -> Schema:
    """All of its properties but the `optional` ones are required."""
    required = [name for name in properties if name not in optional]
    return {"type": "object", "description": description, "properties": properties, "required": required}


def _text(description: str, *choices: str) -> Schema:
    return {"type": "string", "description": description} | ({"enum": list(choices)} if choices else {})


def _whole(description: str) -> Schema:
    return {"type": "integer", "description": description}


def _number(description: str) -> Schema:
    return {"type": "number", "description": description}


def _flag(description: str) -> Schema:
    return {"type": "boolean", "description": description}


def _list(description: str, items: Schema) -> Schema:
    return {"type": "array", "description": description, "items": items}


def _ref(name: str) -> Schema:
    return {"$ref": f"#/$defs/{name}"}


_AT = _whole("The call's age in milliseconds.")
_START = _whole("Call time in milliseconds: since the call's first channel was created.")
_END = _whole("Call time in milliseconds.")
_VERDICT: dict[str, Schema] = {
    "verdict": _text("Whether all was heard.", "complete", "partial"),
    "reasons": _list("Why not all was, in a word or two each.", {"type": "string"}),
}
_WHO: dict[str, Schema] = {
    "leg": _text("Call and channel: the leg's id."),
    "channel": _text("The PBX's unique id of the channel."),
    "party": _ref("Party"),
}
_SAID: dict[str, Schema] = {
    "text": _text("What was said."),
    "start_ms": _START,
    "end_ms": _END,
    "latency_ms": _whole("From the end of the audio that the text covers until the event was made."),
    "mixed": _flag("The call's other party may have said it: both are in one stream. Absent: false."),
}

_PARTS: dict[str, Schema] = {
    "Party": _object(
        "Who speaks on a leg; what is not known is empty.",
        role=_text("", *(role.value for role in Role)),
        number=_text("Telephone number or extension."),
        name=_text("As the PBX displays it."),
        channel=_text("The channel by name, such as PJSIP/1002-0000002a."),
    ),
    "Word": _object(
        "One word of a final.",
        text=_text(""),
        start_ms=_START,
        end_ms=_END,
        confidence=_number("RTZR's, from 0 to 1."),
    ),
    "Ledger": _object(
        "Where the audio went: arrived = sent_first + mixed + withheld + paused + lost, and sent = sent_first"
        " + replayed + filled + keepalive, each rounded.",
        arrived_ms=_whole("What came from the PBX."),
        sent_ms=_whole("All that was sent to RTZR."),
        sent_first_ms=_whole("Of what arrived, what was sent; once each."),
        replayed_ms=_whole("Sent again after a lost connection, or in vain on one."),
        filled_ms=_whole("Silence put in where the PBX sent nothing."),
        keepalive_ms=_whole("Silence sent to keep a quiet session."),
        mixed_ms=_whole("Sent in the stream of the call's other leg."),
        withheld_ms=_whole("Never to be sent: before the answer, or silence."),
        paused_ms=_whole("Withheld on request."),
        lost_ms=_whole("What RTZR did not hear."),
        lost={
            "type": "object",
            "description": "The same by reason.",
            "properties": {reason.value: _whole("") for reason in GapReason},
        },
        saved_ms=_whole("Of what was withheld, what the gate kept back."),
        covered_ms=_whole("What finals span."),
        billed_s=_number("What RTZR bills, in seconds: each session's audio, 10 at least."),
        sessions=_whole("Sessions that were opened."),
        reconnects=_whole("Of these, because one was lost."),
    ),
    "Cost": _object(
        "By the YAML's prices, without VAT.",
        billed_s=_number("Seconds that RTZR bills."),
        won=_number("What they cost."),
        saved_s=_number("Seconds that were not billed because the gate kept silence back."),
        saved_won=_number("What they would have cost."),
    ),
}

_DATA: dict[str, tuple[str, Schema]] = {
    "CallStarted": (
        "rtzr.call.started",
        _object(
            "A call is followed from now on.",
            ("rule",),
            at_ms=_AT,
            rule=_text("The rule that chose it; absent if the dialplan announced it."),
        ),
    ),
    "CallRefused": (
        "rtzr.call.refused",
        _object(
            "There is no room for a call; nothing follows of it.",
            at_ms=_AT,
            reason=_text("Such as max_legs, cpu or lag."),
        ),
    ),
    "CallMerged": (
        "rtzr.call.merged",
        _object(
            "People of two calls hear each other from now on; both calls keep their ids.",
            at_ms=_AT,
            into=_text("The older call."),
        ),
    ),
    "CallPaused": (
        "rtzr.call.paused",
        _object(
            "Nothing that is said from now on is sent to RTZR or kept, until the call is resumed.",
            at_ms=_AT,
            by=_text("By what, such as consent (it begins so), page, command, event, variable or keys."),
            who=_text("By whom, as far as is known: a user's name, `uid 1000`, a channel, a rule; or empty."),
        ),
    ),
    "CallResumed": (
        "rtzr.call.resumed",
        _object(
            "What is said is transcribed again.",
            at_ms=_AT,
            by=_text("By what, such as page, command, event, variable or keys."),
            who=_text("As of a pause."),
        ),
    ),
    "CallEnded": (
        "rtzr.call.ended",
        _object(
            "All legs of a call are over. What was spooled may follow, late.",
            at_ms=_AT,
            **_VERDICT,
            legs=_whole("How many were heard."),
            ledger=_ref("Ledger"),
            cost=_ref("Cost"),
        ),
    ),
    "LegStarted": (
        "rtzr.leg.started",
        _object(
            "A party is heard from now on.",
            **_WHO,
            codec=_text("What its audio comes in.", *(codec.label for codec in Codec)),
        ),
    ),
    PARTIAL: (
        "rtzr.transcript.partial",
        _object("What RTZR thinks so far; the next one replaces it.", ("mixed",), **_WHO, **_SAID),
    ),
    "TranscriptFinal": (
        "rtzr.transcript.final",
        _object(
            "An utterance; it does not change any more.",
            ("mixed", "late"),
            **_WHO,
            **_SAID,
            words=_list("Empty where the text is late.", _ref("Word")),
            late=_flag("It comes from audio that was spooled, maybe after the call's end. Absent: false."),
        ),
    ),
    "Gap": (
        "rtzr.gap",
        _object(
            "Audio that arrived and that RTZR does not hear.",
            **_WHO,
            start_ms=_START,
            end_ms=_END,
            ms=_whole("How much audio: less than the span where the PBX sent nothing in between."),
            reason=_text("Why.", *(reason.value for reason in GapReason)),
            spooled=_flag("It is on the disk, and its text may follow late."),
        ),
    ),
    "LegEnded": (
        "rtzr.leg.ended",
        _object(
            "A party is not heard any more.",
            ("refusal",),
            **_WHO,
            cause=_text("Why, as the PBX says it."),
            **_VERDICT,
            ledger=_ref("Ledger"),
            refusal=_text("RTZR's own word, where it refused the leg for good."),
        ),
    ),
}

TYPES: dict[str, str] = {name: kind for name, (kind, _) in _DATA.items()}
"""Definition -> the event's `type`."""


def _event(kind: str, data: Schema) -> Schema:
    return _object(
        data["description"],
        specversion={"const": "1.0"},
        id=_text("Given once: an event that comes again has the same, so that it can be dropped."),
        source=_text("rtzr-bridge."),
        type={"const": kind},
        subject=_text("The call: its linkedid (Asterisk) or A-leg uuid (FreeSWITCH) at first sight."),
        time=_text("When it was made, UTC, RFC 3339 in milliseconds.") | {"format": "date-time"},
        datacontenttype={"const": "application/json"},
        data={name: value for name, value in data.items() if name != "description"},
    )


def definitions() -> dict[str, Schema]:
    """Every definition by name: the events of `TYPES`, and what they share."""
    return {name: _event(*given) for name, given in _DATA.items()} | _PARTS


def events() -> Schema:
    """The document: any one event."""
    return {
        "$schema": DIALECT,
        "$id": "urn:rtzr-bridge:schema:events",
        "title": "Events of rtzr-bridge",
        "description": "CloudEvents 1.0 in JSON. Let pass keys and types that are not known here.",
        "oneOf": [_ref(name) for name in TYPES],
        "$defs": definitions(),
    }
