"""bridge/admin/pausing.py and its commands: which call is meant, and what is answered, over a real socket."""

import asyncio
import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from bridge import cli
from bridge.admin.control import Control
from bridge.admin.pausing import Pausing, calls_of
from bridge.admin.unix import unix_listener
from bridge.serving import Serving, guarded
from bridge.watching.watch import Watch
from bridge.wire.wishes import By
from tests.watching.calls import Told

LEGS = ["1795.10/1795.10", "1795.10/1795.11", "1795.20/1795.20", "abc d/e"]


class Book:
    """A switchboard that writes down what was ordered."""

    def __init__(self) -> None:
        self.leg_ids = LEGS
        self.ordered: list[tuple[str, bool]] = []
        self.askers: list[tuple[By, str]] = []

    def pause(self, call: str, paused: bool, by: By = By.EVENT, who: str = "") -> bool:
        self.ordered.append((call, paused))
        self.askers.append((by, who))
        return True


@asynccontextmanager
async def served(path: Path, board: Book | None, watch: Watch | None = None) -> AsyncIterator[None]:
    pausing = Pausing() if watch is None else Pausing(watch.shown)
    pausing.board = board
    with unix_listener(path) as listener:
        async with Serving(guarded(Control(None, more=pausing.routes).app()), listener):
            yield


async def run(path: Path, *arguments: str) -> Result:
    return await asyncio.to_thread(CliRunner().invoke, cli.app, [*arguments, "--socket", str(path)])


@pytest.mark.parametrize(
    ("id_", "calls"),
    [
        ("1795.10", ["1795.10"]),
        ("1795.1", ["1795.10"]),
        ("1795", ["1795.10", "1795.20"]),
        ("1795.10/1795.11", ["1795.10"]),
        ("1795.11", ["1795.10"]),
        ("e", ["abc d"]),
        ("2", []),
        ("", []),
    ],
)
def test_whichever_call_is_meant(id_: str, calls: list[str]) -> None:
    assert calls_of(id_, LEGS) == calls


async def test_a_call_is_paused_and_resumed_by_command(tmp_path: Path) -> None:
    path, book = tmp_path / "a.sock", Book()
    async with served(path, book):
        paused = await run(path, "pause", "1795.10/1795.1", "--json")
        assert (paused.exit_code, json.loads(paused.stdout)) == (0, {"id": "1795.10", "paused": True})
        resumed = await run(path, "resume", "abc d")
        assert (resumed.exit_code, resumed.stdout) == (0, "abc d: is heard\n")
    assert book.ordered == [("1795.10", True), ("abc d", False)]
    assert set(book.askers) == {(By.COMMAND, f"uid {os.getuid()}")}


async def test_the_answer_is_the_call_as_it_is_from_now_on(tmp_path: Path) -> None:
    path, call, watch = tmp_path / "a.sock", Told("1795.10"), Watch()
    await watch.put(call.begins())
    async with served(path, Book(), watch):
        known = json.loads((await run(path, "pause", "1795.10", "--json")).stdout)
        unknown = json.loads((await run(path, "pause", "1795.2", "--json")).stdout)
    assert (known["id"], known["state"], known["rule"], known["paused"]) == ("1795.10", "live", "sales", True)
    assert [leg["number"] for leg in known["legs"]] == ["***5678"]
    assert unknown == {"id": "1795.20", "paused": True}


async def test_what_stands_in_the_way_is_a_line(tmp_path: Path) -> None:
    path = tmp_path / "a.sock"
    async with served(path, Book()):
        several, none = await run(path, "pause", "1795"), await run(path, "resume", "9")
    assert (several.exit_code, several.stderr) == (
        1, "pause: 1795: 2 calls begin so: 1795.10, 1795.20\n",
    )  # fmt: skip
    assert (none.exit_code, none.stderr) == (1, "resume: 9: no such call is live\n")
    async with served(path, None):
        early = await run(path, "pause", "1795")
    assert early.stderr == "pause: the daemon is only starting; try it again\n"
    gone = await run(path, "pause", "1795")
    assert gone.exit_code == 1
