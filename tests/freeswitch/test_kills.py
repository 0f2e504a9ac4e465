"""The daemon is killed again and again during calls: what was once in the outbox reaches every receiver.

And when it is ended in good order, it delivers first what there is.
"""

import asyncio
import json
import random
import shutil
import signal
import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from bridge.admin.client import NoAnswer, ask
from bridge.emulator.codebook import SENTENCES, spoken_ms
from tests.asterisk.daemon import EmulatorProcess
from tests.freeswitch.daemon import FreeSwitchBridge
from tests.freeswitch.hooks import SECRET, Hooks
from tests.freeswitch.site import SwitchThread
from tests.redisserver import RedisServer
from tests.scale import scaled

KILLS = scaled(200, 10)
LINES = 6
"""Calls at any time."""
FINAL = "rtzr.transcript.final"


class Bridge(FreeSwitchBridge):
    """One that delivers, and that is there soon: how clean it is, the other tests see."""

    options = ("-m", "bridge")

    def _secrets(self) -> dict[str, str]:
        return {**super()._secrets(), "HOOK_SECRET": SECRET, "PYTHONASYNCIODEBUG": ""}


class Talk:
    """People who call, speak, hang up and call again."""

    def __init__(self, pbx: SwitchThread, seed: int) -> None:
        self._pbx = pbx
        self._dice = random.Random(seed)
        self._over = asyncio.Event()

    async def run(self) -> None:
        await asyncio.gather(*(self._line(number) for number in range(LINES)))

    async def _line(self, number: int) -> None:
        while not self._over.is_set():
            call = await self._pbx.begun(f"10{number:02}", f"20{number:02}")
            for _ in range(self._dice.randint(1, 6)):
                speaker = self._dice.choice([call.caller, call.callee])
                await self._pbx.said((speaker, self._dice.choice([0, 1, 8, 9, 16])))
                if self._over.is_set():
                    break
            await call.hang_up()

    async def end(self) -> None:
        self._over.set()


@dataclass(frozen=True)
class Kept:
    """An event in the outbox."""

    seq: int
    call: str
    type: str
    body: dict[str, Any]


def kept(path: Path) -> dict[str, Kept]:
    """What was committed, by id, in the order of the commits."""
    with closing(sqlite3.connect(path)) as file:
        rows = file.execute("SELECT id, seq, call, type, body FROM events ORDER BY seq").fetchall()
    return {name: Kept(seq, call, kind, json.loads(body)) for name, seq, call, kind, body in rows}


def kept_at_death(path: Path, folder: Path) -> dict[str, Kept]:
    """The same, of a copy: the next daemon is to find the file as the last one left it."""
    folder.mkdir()
    for file in path.parent.glob(f"{path.name}*"):
        shutil.copy(file, folder)
    try:
        return kept(folder / path.name)
    finally:
        shutil.rmtree(folder)


def by_call(events: Sequence[tuple[str, str]]) -> dict[str, list[str]]:
    """Ids in the order in which each came first, from pairs of call and id."""
    found: dict[str, dict[str, None]] = {}
    for call, name in events:
        found.setdefault(call, {})[name] = None
    return {call: list(names) for call, names in found.items()}


def assert_whole(committed: Mapping[str, Kept], got: Sequence[dict[str, Any]]) -> None:
    """Every event is there, the same however often it came, and after dropping repeats once and in order."""
    for event in got:
        assert event == committed[event["id"]].body
    wanted = by_call([(one.call, name) for name, one in committed.items()])
    assert by_call([(event["subject"], event["id"]) for event in got]) == wanted


def webhook(url: str) -> dict[str, Any]:
    return {"name": "crm", "url": url, "secret_env": "HOOK_SECRET", "allow_private": True}


AWAY = webhook("http://127.0.0.1:9/") | {"name": "away"}
"""Nobody listens there: what everybody has is erased, and so all that was committed stays to be seen."""


def waiting(socket: Path) -> int:
    """How many events wait for their receivers, as the daemon says; -1 while it says nothing."""
    try:
        told = ask(socket, "/deliveries")["deliveries"]
        return sum(one["waiting"] for one in told if one["name"] != "webhook:away")
    except NoAnswer:
        return -1


@pytest.fixture(scope="module")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmulatorProcess]:
    with EmulatorProcess(tmp_path_factory.mktemp("emulator"), "--recognition-ms", "100") as running:
        yield running


@pytest.mark.timeout(60 + 6 * KILLS)
def test_what_was_in_the_outbox_reaches_everybody_whatever_dies(
    emulator: EmulatorProcess, redis: RedisServer, tmp_path: Path
) -> None:
    dice, path, socket = random.Random(7), tmp_path / "outbox.db", tmp_path / "admin.sock"
    seen: dict[str, Kept] = {}
    with Hooks(8) as hooks, SwitchThread() as pbx:
        bridge = Bridge(
            pbx.port,
            emulator,
            tmp_path,
            outbox={"path": str(path)},
            sinks={"webhooks": [webhook(hooks.url), AWAY], "redis": {"url": redis.url}},
            admin={"socket": str(socket)},
        )
        talk = Talk(pbx, 9)
        talking = pbx.begin(talk.run())
        with bridge:
            for life in range(KILLS):
                time.sleep(dice.uniform(0.2, 2.0))  # at another moment of the calls each time
                bridge.kill()
                found = kept_at_death(path, tmp_path / f"life{life}")
                assert {name: found.get(name) for name in seen} == seen, "what was committed stays"
                seen = found
                bridge.start()
            pbx.do(talk.end())
            talking.result(30)
            bridge.wait(lambda: waiting(socket) == 0, 30)
            assert bridge.terminate() == 0
    committed = kept(path)
    assert {name: committed.get(name) for name in seen} == seen
    finals = [one for one in committed.values() if one.type == FINAL]
    assert len(finals) >= KILLS / 2, "there was something to lose"
    assert hooks.refused == 0
    assert_whole(committed, hooks.events)
    with closing(Redis.from_url(redis.url)) as reader:
        entries: Any = reader.xrange("rtzr:events")
    assert_whole(committed, [json.loads(entry[b"event"]) for _, entry in entries])


def test_an_orderly_end_waits_for_receivers_that_take_but_not_for_one_that_is_away(
    emulator: EmulatorProcess, tmp_path: Path
) -> None:
    path = tmp_path / "outbox.db"
    with Hooks(1, failing=0) as hooks, SwitchThread() as pbx:
        told = {"webhooks": [webhook(hooks.url), AWAY]}
        with Bridge(
            pbx.port, emulator, tmp_path, outbox={"path": str(path)}, sinks=told, drain_s=0
        ) as bridge:
            call = pbx.call()
            pbx.say((call.caller, 0))
            begun = time.monotonic()
            assert bridge.terminate() == 0  # in mid-call: the last events come when it ends
            assert time.monotonic() - begun < 5
        pbx.do(call.hang_up())
    committed = kept(path)
    assert {"rtzr.call.ended", FINAL} <= {one.type for one in committed.values()}
    assert_whole(committed, hooks.events)
    with closing(sqlite3.connect(path)) as file:
        (left,) = file.execute("SELECT COUNT(*) FROM waiting").fetchone()
    assert left == len(committed), "for the one that is away"


RULES = [
    {"name": "boss", "match": {"caller": "1001"}, "sinks": ["outbox"]},
    {"name": "secret", "match": {"caller": "1002"}, "sinks": ["jsonl"]},
]


def on_disk(spool: Path) -> int:
    """How many legs have a whole sentence there, and a flush more."""
    audio = (sum(file.stat().st_size for file in leg.glob("*.seg")) for leg in spool.glob("live/*/*"))
    return sum(size >= 8 * spoken_ms(SENTENCES[1]) for size in audio)


def test_what_comes_late_from_the_next_bridge_goes_where_its_rule_says(
    emulator: EmulatorProcess, tmp_path: Path
) -> None:
    spool = tmp_path / "spool"
    with Hooks(1, failing=0) as hooks, SwitchThread() as pbx:
        bridge = Bridge(
            pbx.port,
            emulator,
            tmp_path,
            workers=2,  # their spools, and the daemon's sinks
            rules=RULES,
            outbox={"path": str(tmp_path / "outbox.db")},
            spool={"folder": str(spool)},
            sinks={"webhooks": [webhook(hooks.url)]},
        )
        with bridge:
            boss, secret = pbx.call("1001"), pbx.call("1002")
            emulator.signal(signal.SIGSTOP)
            try:
                pbx.say((boss.caller, 1), (secret.caller, 1))
                bridge.wait(lambda: on_disk(spool) >= 2, 10)
                bridge.kill()
                pbx.do(boss.hang_up())
                pbx.do(secret.hang_up())
            finally:
                emulator.signal(signal.SIGCONT)
            bridge.start()
            bridge.wait(lambda: FINAL in {event["type"] for event in hooks.events}, 20)
            bridge.wait(lambda: bool(bridge.events("transcript.final")), 20)
            bridge.wait(lambda: not any((spool / "jobs").iterdir()), 20)
            assert bridge.terminate() == 0
    told = [event for event in hooks.events if event["type"] == FINAL]
    assert {event["subject"] for event in told} == {boss.caller.uuid}
    assert {event["subject"] for event in bridge.events()} == {secret.caller.uuid}
    assert all(event["data"]["late"] for event in [*told, *bridge.events("transcript.final")])
