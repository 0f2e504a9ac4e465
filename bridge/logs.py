"""The daemon's log: structlog to standard error, and what never gets into it.

Other modules only call `structlog.get_logger()`; the command calls `set_up` once. Where transcripts are meant
to be seen is a sink, not the log.
"""

import contextlib
import io
import logging
import os
import re
import sys
from collections.abc import Mapping
from typing import Any, Literal, TextIO, cast

import structlog
from structlog.typing import EventDict, Processor

from bridge.credentials import looks_secret

_NUMBERS = {"number", "caller", "callee"}
_SPOKEN = {"text", "transcript", "words"}
_IDS = {"bridge", "call", "channel", "event_id", "into", "job", "leg", "tap", "timestamp"}
"""Values made of digits that are nobody's number."""
_SHOWN_DIGITS = 4
_WHOLE_NUMBER = re.compile(r"(?<![\w.])\+?\d{9,15}(?!\w|\.\d)")
"""No uniqueid of Asterisk, which is Unix time, a point and a number."""
_WRITTEN_NUMBER = re.compile(
    r"(?<![\w.:-])(?:\+\d{1,3}[- .]?\(?\d{1,3}\)?|\(?0\d{1,2}\)?)[- .]\d{3,4}[- .]\d{4}(?!\w|[-:.]\d)"
)
"""As people write it, in groups; no date and no address begins with + or 0."""
_PROOF = re.compile(
    r"""(?i)\b(bearer\s+|[\w-]*(?:secret|token|password|passwd|api_?key)(?:["']\s*:|=)\s*["']?)([^\s"'&,;)}\]]+)"""
)
"""What libraries and exceptions quote: a header, a query, a form."""
_UNSEEN = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
"""What ends a line, moves a terminal's cursor or turns the direction of text."""
_LINES = {"exception", "stack"}
"""Written as lines of their own, below the one they belong to."""
_set_up: list[tuple[TextIO, str, str]] = []
"""Where the log goes, from which level up, in which form."""
_BRIEF_TIME = structlog.processors.TimeStamper(fmt="%H:%M:%S", utc=False)


def set_up(level: str, form: Literal["console", "json", "brief"], stream: TextIO | None = None) -> None:
    """Log to `stream` (standard error) from `level` upwards.

    `console` is for people, `brief` for people who watch right now, `json` is one object a line.
    Lines that `stream` cannot take are lost.
    """
    given = sys.stderr if stream is None else stream
    out = cast("TextIO", _Lossy(given))
    _set_up[:] = [(given, level, form)]
    number = logging.getLevelNamesMapping()[level.upper()]
    before: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        name_call,
        structlog.processors.add_log_level,
        _BRIEF_TIME if form == "brief" else structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        keep_private,
    ]
    after = _json() if form == "json" else [_console(out, pad=14 if form == "brief" else 30)]
    structlog.configure(
        processors=[*before, *after],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.PrintLoggerFactory(out),
        cache_logger_on_first_use=False,  # a reload may change the level
    )
    _adopt_libraries(before, after, out)


def change(level: str, form: Literal["console", "json"]) -> None:
    """Another level and form, to where it goes already; without effect where nothing was set up."""
    for out, before, form_before in tuple(_set_up):
        if (level, form) != (before, form_before):
            set_up(level, form, out)


class _Lossy(io.TextIOBase):
    """A stream that never fails: when the log's reader goes away or its disk is full, calls go on without it.

    Every line is tried anew, for a disk may have room again.
    """

    def __init__(self, out: TextIO) -> None:
        super().__init__()
        self._out = out

    def isatty(self) -> bool:
        return self._out.isatty()

    def writable(self) -> bool:
        return True

    def write(self, text: str, /) -> int:
        with contextlib.suppress(OSError, ValueError):  # ValueError: it is closed
            self._out.write(text)
        return len(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            self._out.flush()


def _json() -> list[Processor]:
    return [structlog.processors.JSONRenderer(ensure_ascii=False)]


def _console(out: TextIO, pad: int) -> Processor:
    # Plain tracebacks: the pretty ones print local variables, and a token may be one.
    return structlog.dev.ConsoleRenderer(
        pad_event_to=pad,
        colors=out.isatty() and not os.environ.get("NO_COLOR"),
        exception_formatter=structlog.dev.plain_traceback,
    )


def _adopt_libraries(before: list[Processor], after: list[Processor], out: TextIO) -> None:
    """What libraries log goes the same way, from warnings up: below, some of them log headers with tokens."""
    handler = logging.StreamHandler(out)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=before,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *after],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)


def name_call(_logger: object, _method: str, event: EventDict) -> EventDict:
    """A structlog processor: a line about a leg names its call too, as the events' `subject` does."""
    if event.get("leg") and "call" not in event:
        event["call"] = str(event["leg"]).rpartition("/")[0]
    return event


def keep_private(_logger: object, method: str, event: EventDict) -> EventDict:
    """A structlog processor: secrets go, telephone numbers keep four digits, transcripts stay below INFO."""
    return _private(event, spoken=method == "debug")


def _private(values: Mapping[Any, Any], spoken: bool) -> dict[str, Any]:
    return {
        key: masked(value) if key in _NUMBERS else _shown(key, value, spoken)
        for key, value in values.items()
        if not looks_secret(str(key)) and (spoken or key not in _SPOKEN)
    }


def _shown(key: str, value: object, spoken: bool) -> object:
    """A value of any kind, and what is in it."""
    if isinstance(value, Mapping):
        return _private(value, spoken)
    if isinstance(value, list | tuple | set | frozenset):
        return [_shown(key, one, spoken) for one in value]
    if value is None or isinstance(value, int | float):
        return value
    return _brief(key, value if isinstance(value, str) else repr(value))


def _brief(key: str, text: str) -> str:
    """What the PBX, a library or an error says may hold a number that nobody has named one, and whatever a
    caller has for a name."""
    if key not in _IDS:
        text = _PROOF.sub(r"\1***", text)
        for number in (_WHOLE_NUMBER, _WRITTEN_NUMBER):
            text = number.sub(lambda found: masked(found[0]), text)
    if key in _LINES:
        return "\n".join(_plain(line) for line in text.split("\n"))
    return _plain(text)


def _plain(text: str) -> str:
    """On one line, and without effect on a terminal."""
    return _UNSEEN.sub(lambda found: found[0].encode("unicode_escape").decode("ascii"), text)


def masked(number: object) -> str:
    """The last four digits of a telephone number or SIP address, as `***1234`; empty if there is none."""
    if number is None or number == "":
        return ""
    user = re.sub(r"^sips?:|@.*", "", str(number))
    return "***" + re.sub(r"\D", "", user)[-_SHOWN_DIGITS:]
