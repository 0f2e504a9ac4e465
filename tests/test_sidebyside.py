"""tests/sidebyside.py: files are named that exist, and handed out in the order that is meant."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

from tests.sidebyside import LONG_S, LongestFirst

ROOT = Path(__file__).parent.parent
QUICK = ["tests/wire/test_ami.py", "tests/wire/test_rtp.py"]


class Worker:
    """One that is told which tests to run, by their place in the collection."""

    shutting_down = False

    def __init__(self, name: str) -> None:
        self.gateway = SimpleNamespace(id=name)
        self.told: list[int] = []

    def send_runtest_some(self, indices: list[int]) -> None:
        self.told += indices

    def shutdown(self) -> None:
        self.shutting_down = True


def test_every_file_that_takes_long_exists() -> None:
    assert [name for name in LONG_S if not (ROOT / name).is_file()] == []


def handed_out(files: list[str], per_file: int) -> tuple[list[str], list[str]]:
    """What either of two workers gets that finish as many tests in the same time, in their order."""
    collection = [f"{file}::test_{number}" for file in files for number in range(per_file)]
    workers = [Worker("gw0"), Worker("gw1")]
    options = SimpleNamespace(loadscopereorder=True)
    config: Any = SimpleNamespace(getvalue=lambda name: ["popen", "popen"], option=options)
    scheduler = LongestFirst(config)
    for worker in workers:
        scheduler.add_node(worker)
        scheduler.add_node_collection(worker, collection)
    scheduler.schedule()
    for turn in range(len(collection)):
        for worker in workers:
            if turn < len(worker.told):
                scheduler.mark_test_complete(worker, worker.told[turn])
    told = [list(dict.fromkeys(files[index // per_file] for index in worker.told)) for worker in workers]
    return told[0], told[1]


def test_one_worker_begins_with_the_quick_and_the_others_with_the_longest() -> None:
    by_length = sorted(LONG_S, key=lambda name: -LONG_S[name])
    first, other = handed_out([*by_length[:1], *QUICK, *by_length[1:3]], per_file=4)
    assert first[:2] == QUICK
    assert other[:2] == by_length[:2]
    assert sorted(first + other) == sorted([*QUICK, *by_length[:3]])
