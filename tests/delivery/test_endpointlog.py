"""bridge/delivery/endpointlog.py: one line a minute, however often it fails, and the last word is told."""

from structlog.testing import capture_logs

from bridge.delivery.endpointlog import EndpointLog


def test_one_that_fails_every_other_time_is_told_once_a_minute() -> None:
    now_s = 0.0
    with capture_logs() as logs:
        log = EndpointLog("webhook:crm", lambda: now_s)
        for second in range(150):
            now_s = float(second)
            log.look()
            log.failed("503", gone=False)
            log.worked()
        now_s = 180.0
        log.look()
        log.look()
    assert [(line["event"], line["flips"]) for line in logs] == [
        ("not delivered", 1),
        ("delivered again", 119),
        ("delivered again", 120),
        ("delivered again", 60),
    ]


def test_one_that_fails_for_long_is_told_every_minute_and_one_that_works_never() -> None:
    now_s = 0.0
    with capture_logs() as logs:
        log = EndpointLog("webhook:crm", lambda: now_s)
        log.worked()
        for second in range(0, 130, 10):
            now_s = float(second)
            log.failed("503", gone=False)
        now_s = 131.0
        log.worked()
        now_s = 1000.0
        log.look()
    assert [(line["event"], line["flips"], line.get("reason")) for line in logs] == [
        ("not delivered", 1, "503"),
        ("not delivered", 0, "503"),
        ("not delivered", 0, "503"),
        ("delivered again", 1, None),
    ]


def test_one_that_is_gone_is_told_at_once() -> None:
    with capture_logs() as logs:
        log = EndpointLog("webhook:crm", lambda: 0.0)
        log.failed("503", gone=False)
        log.failed("410", gone=True)
    assert [(line["reason"], line["gone"]) for line in logs] == [("503", False), ("410", True)]
