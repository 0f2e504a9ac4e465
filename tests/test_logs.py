"""bridge/logs.py: what is logged, how, and what never is."""

import errno
import io
import json
import logging
import re
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
import structlog

from bridge import logs


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def written(log: Callable[[], object], level: str = "debug") -> list[dict[str, Any]]:
    """What `log` writes as JSON lines."""
    out = io.StringIO()
    logs.set_up(level, "json", out)
    log()
    return [json.loads(line) for line in out.getvalue().splitlines()]


def test_json_has_the_event_the_level_utc_and_the_context() -> None:
    structlog.contextvars.bind_contextvars(leg="1/2")
    (line,) = written(lambda: structlog.get_logger().info("소켓 opened", ms=12))
    when = datetime.fromisoformat(line.pop("timestamp"))
    assert when.utcoffset() == timedelta(0)
    assert line == {"event": "소켓 opened", "level": "info", "ms": 12, "leg": "1/2", "call": "1"}


def test_the_level_filters_and_a_second_set_up_changes_it() -> None:
    log = structlog.get_logger()
    assert written(lambda: log.info("no"), level="warning") == []
    assert len(written(lambda: log.info("yes"), level="info")) == 1


@pytest.mark.parametrize(
    ("number", "shown"),
    [
        ("01012345678", "***5678"),
        ("+82 10-1234-5678", "***5678"),
        ("sip:01012345678@10.0.0.99:5060", "***5678"),
        (1234, "***1234"),
        ("alice", "***"),
        ("", ""),
        (None, ""),
    ],
)
def test_telephone_numbers_keep_four_digits(number: object, shown: str) -> None:
    (line,) = written(
        lambda: structlog.get_logger().info("call", number=number, party={"caller": number}, callee=number)
    )
    assert (line["number"], line["party"]["caller"], line["callee"]) == (shown, shown, shown)


@pytest.mark.parametrize(
    "key", ["token", "secret", "client_secret", "password", "authorization", "Authorization", "access_token"]
)
def test_secrets_are_dropped_at_every_level(key: str) -> None:
    log = structlog.get_logger()
    (line,) = written(lambda: log.debug("asked", **{key: "hunter2"}, headers={key: "hunter2"}))
    assert "hunter2" not in json.dumps(line)


def test_counts_of_tokens_are_no_secrets() -> None:
    (line,) = written(lambda: structlog.get_logger().info("end", tokens_issued=1))
    assert line["tokens_issued"] == 1


@pytest.mark.parametrize(
    "value",
    [
        ["01012345678"],
        ("+821012345678",),
        [{"number": "01012345678", "text": "hunter2", "token": "hunter2"}],
        ConnectionError("sip:01012345678@pbx refused"),
        b"01012345678",
        "010-1234-5678 called +82-10-1234-5678, (02) 1234-5678 and +82 (10) 1234 5678",
        "https://host/in?token=hunter2&to=01012345678",
        "Authorization: Bearer hunter2",
        "{'client_secret': 'hunter2', 'Secret': 'hunter2'}",
    ],
    ids=["list", "tuple", "nested", "error", "bytes", "written", "query", "header", "form"],
)
@pytest.mark.parametrize("form", ["console", "json", "brief"])
def test_numbers_and_secrets_are_found_in_whatever_holds_them(value: object, form: Any) -> None:
    out = io.StringIO()
    logs.set_up("info", form, out)
    structlog.get_logger().warning("refused", why=value, deeper={"why": value})
    logging.getLogger("library").warning("refused: %s", str(value).replace("hunter2", "token=hunter2"))
    assert "hunter2" not in out.getvalue()
    assert not re.search(r"1234\D*5678", out.getvalue())


@pytest.mark.parametrize(
    "text",
    [
        "2026-11-26 01:10:12",
        "192.168.100.200:5060",
        "1732579812.1234",
        "0.1 0.25 0.5",
        "40000-40999",
        "9c1e0d3a-0123-4567-8901-4f2b7a1c9d10",
        "took 0.435 seconds",
        "no password for the token",
        "RTZR gives no token: connection refused",
        "environment: RTZR_FEED_TOKEN: is not set; set it, or RTZR_FEED_TOKEN_FILE to the path of a file",
        "/etc/rtzr-bridge/bridge.yaml:3: rtzr.client_secret: is a secret, and none is read from this file",
    ],
)
def test_what_is_no_number_and_no_secret_stays(text: str) -> None:
    (line,) = written(lambda: structlog.get_logger().info("said", why=text, bytes=123456789012))
    assert (line["why"], line["bytes"]) == (text, 123456789012)


@pytest.mark.parametrize("form", ["console", "json", "brief"])
@pytest.mark.parametrize("evil", ["\n", "\r", "\x1b[31m", "\x9b31m", "\x07", "\u2028", "\u202e", "\x85"])
def test_a_name_makes_no_line_of_its_own_and_does_nothing_to_a_terminal(evil: str, form: Any) -> None:
    out = io.StringIO()
    logs.set_up("info", form, out)
    structlog.get_logger().warning("met", name=f"Kim{evil}2026-11-26 [error] all is lost")
    logging.getLogger("library").warning("met Kim%s2026-11-26 [error] all is lost", evil)
    assert len(out.getvalue().split("\n")) == 3
    assert evil not in out.getvalue().replace("\n", "" if evil == "\n" else "\n")


def test_a_traceback_keeps_its_lines() -> None:
    out = io.StringIO()
    logs.set_up("info", "console", out)
    try:
        raise ConnectionError("lost\x1b[31m")
    except ConnectionError:
        structlog.get_logger().exception("lost")
    assert 'File "' in out.getvalue().split("\n")[2]
    assert "\x1b" not in out.getvalue()


def test_transcripts_are_for_debugging_only() -> None:
    log = structlog.get_logger()
    assert "text" not in written(lambda: log.info("final", text="여보세요"))[0]
    assert written(lambda: log.debug("final", text="여보세요"))[0]["text"] == "여보세요"


def test_the_console_has_colours_only_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    plain, pretty, asked = io.StringIO(), Terminal(), Terminal()
    for out in (plain, pretty):
        logs.set_up("info", "console", out)
        structlog.get_logger().info("socket opened", ms=3)
    monkeypatch.setenv("NO_COLOR", "1")
    logs.set_up("info", "console", asked)
    structlog.get_logger().info("socket opened", ms=3)
    assert "\x1b" not in plain.getvalue() + asked.getvalue()
    assert "\x1b" in pretty.getvalue()
    assert "socket opened" in plain.getvalue()
    assert "ms=3" in plain.getvalue()


@pytest.mark.parametrize("form", ["console", "json"])
def test_tracebacks_show_no_local_variables(form: Any) -> None:
    out = io.StringIO()
    logs.set_up("info", form, out)
    local_token = f"hunter{len(form[:2])}"
    try:
        raise ConnectionError(f"lost after {len(local_token)}")
    except ConnectionError:
        structlog.get_logger().exception("lost")
    assert "ConnectionError: lost after 7" in out.getvalue()
    assert "hunter2" not in out.getvalue()


def test_libraries_log_warnings_the_same_way_and_nothing_below() -> None:
    def library() -> None:
        logging.getLogger("websockets.client").debug("> Authorization: Bearer hunter2")
        logging.getLogger("websockets.client").info("opening")
        logging.getLogger("asyncio").warning("slow %s", "callback")

    (line,) = written(library)
    assert (line["event"], line["level"]) == ("slow callback", "warning")


class Gone(io.StringIO):
    """A stream whose reader went away, or whose disk is full, until it `works`."""

    works = False

    def write(self, text: str, /) -> int:
        if not self.works:
            raise BrokenPipeError
        return super().write(text)

    def flush(self) -> None:
        if not self.works:
            raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("form", ["console", "json", "brief"])
def test_a_line_that_cannot_be_written_is_lost_and_nothing_else(
    form: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    out = Gone()
    logs.set_up("info", form, out)
    structlog.get_logger().info("lost")
    logging.getLogger("asyncio").warning("lost too")
    out.works = True
    structlog.get_logger().info("kept")
    assert "kept" in out.getvalue()
    assert "lost" not in out.getvalue()
    out.close()
    structlog.get_logger().info("lost again")
    logging.getLogger("asyncio").warning("lost as well")
    assert capsys.readouterr().err == ""


def test_standard_error_is_the_default(capsys: pytest.CaptureFixture[str]) -> None:
    logs.set_up("info", "json")
    structlog.get_logger().info("here")
    captured = capsys.readouterr()
    assert captured.out == ""
    assert json.loads(captured.err)["event"] == "here"


def test_a_line_about_a_leg_names_its_call() -> None:
    structlog.contextvars.bind_contextvars(leg="1795370157.1/1795370157.2")
    (line,) = written(lambda: structlog.get_logger().info("socket opened"))
    assert line["call"] == "1795370157.1"
    structlog.contextvars.clear_contextvars()
    assert "call" not in written(lambda: structlog.get_logger().info("ready"))[0]


def test_numbers_that_nobody_has_named_so_are_masked_and_ids_are_not() -> None:
    def log() -> None:
        told = "no channel PJSIP/01012345678-0000002a of 1795370157.12, +821098765432."
        structlog.get_logger().warning(
            told, reason=told, call="1795370157", channel="0102345678", bytes=123456789
        )

    (line,) = written(log, level="info")
    masked = "no channel PJSIP/***5678-0000002a of 1795370157.12, ***5432."
    assert (line["event"], line["reason"]) == (masked, masked)
    assert (line["call"], line["channel"], line["bytes"]) == ("1795370157", "0102345678", 123456789)


def test_a_traceback_is_masked_too() -> None:
    def log() -> None:
        try:
            raise ValueError("SIP/01012345678")
        except ValueError:
            structlog.get_logger().exception("leg failed")

    (line,) = written(log)
    assert "ValueError: SIP/***5678" in line["exception"]
    assert "01012345678" not in line["exception"]
