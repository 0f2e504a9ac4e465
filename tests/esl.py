"""The bytes of FreeSWITCH's event socket as recorded: tests/captures/freeswitch/esl-0*.jsonl.

One JSON object a line; those with `raw` are what went over a connection (`src` names it): `dir` fs2us what
FreeSWITCH sent, us2fs what was asked of it.
"""

import json
from functools import cache
from pathlib import Path

FOLDER = Path(__file__).parent / "captures" / "freeswitch"
INBOUND = "esl-01-raw-inbound-plain-json-xml"
OUTBOUND = (
    "esl-02-outbound-async-full-linger",
    "esl-03-outbound-sync-full-linger",
    "esl-04-outbound-async-nolinger",
)


@cache
def talk(name: str, connection: str) -> tuple[tuple[str, bytes], ...]:
    """What was said over one connection, in order: who (fs2us, us2fs), and its bytes."""
    lines = [json.loads(line) for line in (FOLDER / f"{name}.jsonl").read_text().splitlines()]
    return tuple(
        (one["dir"], one["raw"].encode()) for one in lines if one["src"] == connection and "raw" in one
    )


def said(name: str, connection: str) -> bytes:
    """All that FreeSWITCH sent over it."""
    return b"".join(data for who, data in talk(name, connection) if who == "fs2us")


STREAMS = {
    "wrong password": said(INBOUND, "esl_wrong_pw"),
    "no login": said(INBOUND, "esl_noauth_cmd"),
    "inbound": said(INBOUND, "esl"),
    **{name: said(name, "outbound") for name in OUTBOUND},
}
