"""bridge/workers/workercounts.py: what workers count is counted once, over all their lives."""

from bridge import metrics
from bridge.wire.link import Counts
from bridge.workers.workercounts import WorkerCounts, total


def lags(name: str) -> float:
    found = metrics.REGISTRY.get_sample_value("rtzr_bridge_loop_lag_seconds_count", {"process": name})
    return found or 0.0


def test_what_grew_is_told_once_and_sessions_of_former_lives_stay_counted() -> None:
    worker = WorkerCounts(7)
    before = lags("worker 7")
    worker.began(123)
    worker.take(Counts(1.0, 2.0, 3, 4, {"received": 5}, {"sent": 20.0}, 100.0))
    worker.take(Counts(1.1, 2.0, 2, 5, {"received": 5}, {"sent": 20.5}, 50.0))
    assert lags("worker 7") == before + 2
    counts = worker.counts()
    assert (counts.fates, counts.audio) == ({"received": 10}, {"sent": 40.5})
    assert (counts.sessions_open, counts.sessions_opened, counts.backlog_ms) == (2, 5, 50.0)
    assert counts.processes == {"worker 7": 123}
    worker.lost()
    worker.take(Counts(0.1, 2.0, 1, 1, {}))
    counts = worker.counts()
    assert (counts.sessions_open, counts.sessions_opened, counts.fates, counts.processes) == (1, 6, {}, {})


def test_those_of_all_workers_are_added_and_the_longest_backlog_is_told() -> None:
    workers = [WorkerCounts(number) for number in (8, 9)]
    for number, worker in enumerate(workers):
        worker.began(100 + number)
        worker.take(Counts(1.0, 2.0, 3, 4, {"received": 5}, {"sent": 20.0}, 100.0 + number))
    counts = total(workers)
    assert (counts.sessions_open, counts.sessions_opened, counts.backlog_ms) == (6, 8, 101.0)
    assert (counts.fates, counts.audio) == ({"received": 10}, {"sent": 40.0})
    assert counts.processes == {"worker 8": 100, "worker 9": 101}
