"""bridge/reload/reloader.py, parts.py: all parts or none, one at a time, and an answer in every case."""

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest
from structlog.testing import capture_logs

from bridge import metrics
from bridge.config import Config, ConfigError
from bridge.credentials import Secrets
from bridge.reload.parts import Take
from bridge.reload.reloader import Reloader


def config(**given: Any) -> Config:
    return Config.model_validate(given)


class Part:
    """Writes down what it took; `ready` and `take` may fail."""

    def __init__(self) -> None:
        self.took: list[int] = []
        self.fails_ready = self.fails_take = False

    def make(self, config: Config) -> Take:
        number = config.quota.max_sessions
        if self.fails_ready and number:
            raise ZeroDivisionError("secret")
        return lambda: self.take(number)

    def take(self, number: int) -> None:
        if self.fails_take and number:
            raise ZeroDivisionError("secret")
        self.took.append(number)


def reloader(again: Callable[[], Config], *parts: Part) -> Reloader:
    made = Reloader(config(), again)
    for part in parts:
        made.parts.add(part.make)
    made.begin()
    return made


def seven() -> Config:
    return config(quota={"max_sessions": 7})


async def test_all_parts_take_it_and_a_check_takes_nothing() -> None:
    one, two = Part(), Part()
    asked = reloader(seven, one, two)
    checked = await asked.reload(check=True)
    assert [change.key for change in checked.changes] == ["quota.max_sessions"]
    assert (one.took, two.took, asked.config) == ([], [], config())
    with capture_logs() as logs:
        done = await asked.reload()
    assert done.as_json() == checked.as_json()
    assert done.as_json()["changes"] == [
        {"key": "quota.max_sessions", "old": 0, "new": 7, "effect": "at once"}
    ]
    assert (one.took, two.took, asked.config.quota.max_sessions) == ([7], [7], 7)
    assert [line["event"] for line in logs] == ["configuration reloaded"]
    assert (await asked.reload()).changes == []


@pytest.mark.parametrize("fails", ["fails_ready", "fails_take"])
async def test_a_part_that_fails_keeps_all_from_it(fails: str) -> None:
    one, two = Part(), Part()
    setattr(two, fails, True)
    asked = reloader(seven, one, two)
    with capture_logs() as logs:
        done = await asked.reload()
    (fault,) = done.faults
    assert "secret" not in fault
    assert not done.ok
    assert (one.took[-1:] in ([], [0]), two.took[-1:] in ([], [0])) == (True, True)
    assert asked.config == config()
    assert logs[-1]["event"] == "configuration not reloaded; nothing has changed"


async def test_the_metrics_tell_whether_the_last_reload_found_a_fault() -> None:
    given = [seven(), config(), None]

    def again() -> Config:
        if (found := given.pop()) is None:
            raise ConfigError(["bridge.yaml:3: gate.mode: is not one of its choices"])
        return found

    asked = reloader(again)
    for check, ok in ((False, b"0.0"), (True, b"0.0"), (False, b"1.0")):
        await asked.reload(check=check)
        assert b"\nrtzr_bridge_config_reload_ok " + ok in metrics.text()
    asked.stop()
    await asked.reload()
    assert b"\nrtzr_bridge_config_reload_ok 1.0" in metrics.text()


async def test_a_file_that_is_all_faults_is_told_in_few() -> None:
    def faulty() -> Config:
        raise ConfigError([f"bridge.yaml:{line}: x: is given twice" for line in range(100_000)])

    faults = (await reloader(faulty).reload()).faults
    assert (len(faults), faults[-1]) == (51, "and 99950 more")


async def test_faults_of_the_file_change_nothing_and_are_told() -> None:
    lines = ["bridge.yaml:3: gate.mode: is not one of its choices", "environment: X: is not set"]

    def faulty() -> Config:
        raise ConfigError(lines)

    part = Part()
    asked = reloader(faulty, part)
    with capture_logs() as logs:
        done = await asked.reload()
    assert done.as_json() == {"ok": False, "faults": lines, "changes": []}
    assert (part.took, logs[0]["faults"]) == ([], done.faults)


async def test_while_one_is_under_way_another_is_refused_or_waits() -> None:
    going, goes = threading.Event(), threading.Event()

    def slow() -> Config:
        going.set()
        goes.wait(10)
        return seven()

    asked = reloader(slow, Part())
    first = asyncio.create_task(asked.reload())
    await asyncio.to_thread(going.wait, 10)
    refused = await asked.reload()
    waiting = asyncio.create_task(asked.reload(wait=True))
    await asyncio.sleep(0)
    goes.set()
    assert refused.faults == ["another reload is under way; try again when it is over"]
    assert ((await first).ok, (await waiting).ok) == (True, True)


async def test_none_before_the_start_is_over_nor_in_a_drain_that_began_meanwhile() -> None:
    part = Part()
    asked = Reloader(config(), seven)
    asked.parts.add(part.make)
    assert (await asked.reload()).faults == ["the daemon is starting; reload it once it is ready"]
    asked.begin()

    def drained() -> Config:
        asked.stop()
        return seven()

    asked._again = drained
    (fault,) = (await asked.reload()).faults
    assert fault.startswith("the daemon is stopping")
    assert (await asked.reload()).faults == [fault]
    assert part.took == []


async def test_signals_that_come_in_a_storm_are_followed_by_one_reload_of_the_last_file() -> None:
    read = 0

    def count() -> Config:
        nonlocal read
        read += 1
        return config(quota={"max_sessions": read})

    asked, signalled = reloader(count), asyncio.Event()
    following = asyncio.create_task(asked.follow(signalled))
    for _ in range(100):
        signalled.set()
    while asked.config.quota.max_sessions == 0:  # noqa: ASYNC110
        await asyncio.sleep(0.001)
    assert (read, asked.config.quota.max_sessions) == (1, 1)
    following.cancel()


async def test_a_part_that_is_asked_and_does_not_answer_is_a_fault() -> None:
    async def silent(_config: Config) -> Take:
        raise TimeoutError

    asked = reloader(seven)
    asked.parts.add_far(silent)
    assert (await asked.reload()).faults == [
        "a worker does not answer; reload again once it does, or was put back"
    ]


async def test_what_needs_a_restart_stays_a_change() -> None:
    asked = reloader(lambda: config(workers=3, drain_s=1))
    for _ in range(2):
        with capture_logs() as logs:
            done = await asked.reload()
        assert ("workers", "needs a restart") in [(change.key, change.effect) for change in done.changes]
        assert logs[-1]["keys"] == ["workers"]
    assert (asked.config.workers, asked.config.drain_s) == (1, 1)


async def test_new_secrets_are_had_by_the_parts() -> None:
    had: list[str] = []
    asked = reloader(lambda: config().with_secrets(Secrets("id", "new")))
    asked.parts.add(lambda config: lambda: had.append(config.secrets.client_secret))
    await asked.reload()
    assert had == ["new"]


async def test_whatever_goes_wrong_is_an_answer_and_signals_are_followed_on() -> None:
    faults = [PermissionError(13, "secret")]

    def again() -> Config:
        if faults:
            raise faults.pop()
        return seven()

    asked, signalled = reloader(again), asyncio.Event()
    following = asyncio.create_task(asked.follow(signalled))
    with capture_logs() as logs:
        signalled.set()
        while len(logs) < 2:  # noqa: ASYNC110
            await asyncio.sleep(0.001)
    assert [line["event"] for line in logs] == [
        "reload failed",
        "configuration not reloaded; nothing has changed",
    ]
    assert logs[1]["faults"] == ["the reload failed (PermissionError); see the log, and reload again"]
    signalled.set()
    while asked.config.quota.max_sessions == 0:  # noqa: ASYNC110
        await asyncio.sleep(0.001)
    following.cancel()
