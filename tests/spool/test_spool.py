"""The spool as the calls see it: it never waits or fails, and what it took is on the disk."""

import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from bridge.spool.journal import Journal
from bridge.spool.spool import QUEUE_BYTES, LegSpool, Spool, SpoolSettings
from bridge.types import Codec, Frame, LegId, Party, Role
from bridge.wire.g711 import to_pcm
from tests.scale import scaled
from tests.spool.test_journal import heard, said, segments, talk

PARTY = Party(Role.CALLER, "01012345678")
BEGAN = 1_700_000_000.0


class Clock:
    """A clock that goes when it is told."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def leg(spool: Spool, name: str = "1") -> LegSpool:
    return spool.leg(LegId("c", name), PARTY, Codec.ULAW, BEGAN)


def unthreaded(folder: Path, clock: Clock, **changed: float) -> Spool:
    """A spool whose rounds the test makes itself."""
    settings = SpoolSettings(folder, **changed)  # type: ignore[arg-type]
    return Spool(settings, clock=clock, unix=lambda: time.time() + clock.now - 1000)


@contextmanager
def running(folder: Path) -> Iterator[Spool]:
    spool = Spool(SpoolSettings(folder))
    spool.start()
    try:
        yield spool
    finally:
        spool.stop()


def until(condition: Callable[[], bool]) -> None:
    ends = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < ends
        time.sleep(0.01)


def disk_full(*_: object) -> int:
    raise OSError(28, "No space left on device")


# In order.


def test_what_was_lost_is_a_job_when_the_leg_has_ended(tmp_path: Path) -> None:
    with running(tmp_path) as spool:
        one = leg(spool)
        one.keep(talk(4))
        one.lose(4000, 12_000)
        one.covered(16_000)
        one.close()
    assert heard(tmp_path) == said(1, 2)
    assert (spool.counters.kept_ms, spool.counters.jobs_made) == (16_000, 1)
    assert not list((tmp_path / "live").iterdir())


def test_what_was_told_is_deleted_while_the_call_goes_on(tmp_path: Path) -> None:
    with running(tmp_path) as spool:
        one = leg(spool)
        one.keep(talk(3))
        until(lambda: segments(tmp_path) > 0)
        one.covered(12_000)
        until(lambda: segments(tmp_path) == 0)
        one.close()
    assert heard(tmp_path) == []


def test_a_loss_is_a_job_once_it_has_not_grown_for_a_while(tmp_path: Path) -> None:
    clock = Clock()
    spool = unthreaded(tmp_path, clock, settle_s=5)
    one = leg(spool)
    audio = talk(4)
    for n in range(4):
        one.keep(audio[n * 200 : (n + 1) * 200])
        one.lose(n * 4000, (n + 1) * 4000)
        spool.tick()
        clock.now += 4
    assert spool.jobs.count() == 0
    clock.now += 1
    spool.tick()
    assert spool.jobs.count() == 1
    assert heard(tmp_path) == said(0, 1, 2, 3)
    one.close()
    spool.stop()
    assert spool.jobs.count() == 1


def test_a_loss_that_goes_on_is_sent_in_parts(tmp_path: Path) -> None:
    clock = Clock()
    spool = unthreaded(tmp_path, clock, longest_s=10)
    one = leg(spool)
    audio = talk(12)
    for n in range(12):
        one.keep(audio[n * 200 : (n + 1) * 200])
        one.lose(n * 4000, (n + 1) * 4000)
        spool.tick()
    assert spool.jobs.count() >= 3
    one.close()
    spool.stop()
    assert heard(tmp_path) == said(*range(12))


def test_fifty_legs_at_once_are_kept_apart(tmp_path: Path) -> None:
    with running(tmp_path) as spool:
        legs = [leg(spool, str(n)) for n in range(50)]
        audio = talk(2)
        for n in range(0, len(audio), 10):
            for one in legs:
                one.keep(audio[n : n + 10])
        for one in legs:
            one.lose(0, 4000)
            one.close()
    assert heard(tmp_path) == said(0) * 50
    assert spool.counters.kept_ms == 50 * 8000


def test_only_we_may_read_it(tmp_path: Path) -> None:
    clock = Clock()
    folder = tmp_path / "spool"
    spool = unthreaded(folder, clock)
    one = leg(spool)
    one.keep(talk(2))
    one.lose(0, 4000)
    spool.tick()
    clock.now += 100
    spool.tick()
    paths = [folder, *folder.rglob("*")]
    assert {path.suffix for path in paths} >= {".seg", ".wav", ".json"}
    for path in paths:
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path
    spool.stop()


# What others left.


def test_a_leg_that_was_not_closed_is_found_by_the_next(tmp_path: Path) -> None:
    with running(tmp_path) as spool:
        one = leg(spool)
        one.keep(talk(3))
        one.covered(4000)
    with running(tmp_path) as spool:
        until(lambda: spool.counters.legs_recovered == 1)
        until(lambda: len(list((tmp_path / "live").iterdir())) == 1)
    assert heard(tmp_path) == said(1, 2)
    assert not list((tmp_path / "live").iterdir())


def test_the_journals_of_the_living_are_not_touched(tmp_path: Path) -> None:
    clock = Clock()
    living, other = unthreaded(tmp_path, clock), unthreaded(tmp_path, clock)
    one = leg(living)
    one.keep(talk(2))
    living.tick()
    for _ in range(5):
        other.tick()
    assert other.counters.legs_recovered == 0
    assert segments(tmp_path) > 0
    living.stop()
    third = unthreaded(tmp_path, clock)
    for _ in range(3):
        third.tick()
    assert third.counters.legs_recovered == 1
    assert heard(tmp_path) == said(0, 1)
    third.stop()
    other.stop()


_CHILD = """
import sys, time
from pathlib import Path
from bridge.spool.spool import Spool, SpoolSettings
from bridge.types import Codec, LegId, Party, Role
from tests.spool.test_journal import talk
spool = Spool(SpoolSettings(Path(sys.argv[1])))
spool.start()
leg = spool.leg(LegId("c", "1"), Party(Role.CALLER), Codec.ULAW, 1.7e9)
audio = talk(24)
for n in range(0, len(audio), 10):
    leg.keep(audio[n : n + 10])
    print(time.monotonic(), (n + 10) * 20, flush=True)
    time.sleep(0.01)
time.sleep(60)
"""


@pytest.mark.parametrize("after_s", [round(1.3 + 0.11 * n, 2) for n in range(scaled(10, 2))])
def test_killed_in_mid_write_it_loses_less_than_the_last_second(tmp_path: Path, after_s: float) -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", _CHILD, str(tmp_path)], stdout=subprocess.PIPE, text=True, cwd=Path.cwd()
    )
    try:
        assert child.stdout is not None
        given = [child.stdout.readline()]
        time.sleep(after_s)
    finally:
        killed = time.monotonic()
        os.kill(child.pid, signal.SIGKILL)
        given += child.communicate()[0].splitlines()
    before = [float(ms) for at, ms in map(str.split, given) if float(at) < killed - 1.0]
    owed_ms = max(before)
    with running(tmp_path) as spool:
        until(
            lambda: not any(path.name.startswith(f"{child.pid}-") for path in (tmp_path / "live").iterdir())
        )
        assert spool.counters.errors == 0
    words = heard(tmp_path)
    whole = int(owed_ms // 4000)
    assert words[:whole] == said(*range(whole))
    claims = []
    while (claim := spool.jobs.oldest(1e12)) is not None:
        claims.append(claim)
    assert sum(claim.job.end_ms - claim.job.start_ms for claim in claims) >= owed_ms
    for claim in claims:
        claim.release()


# Trouble.


def test_a_folder_that_cannot_be_harms_nothing_and_is_told_once(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    spool = unthreaded(tmp_path / "file" / "spool", Clock())
    with pytest.raises(OSError, match="directory"):
        spool.check()
    with capture_logs() as logs:
        one = leg(spool)
        for _ in range(5):
            one.keep(talk(1))
            one.lose(0, 4000)
            one.covered(4000)
            spool.tick()
        one.close()
        spool.tick()
        spool.stop()
    assert [log["event"] for log in logs if log["log_level"] == "error"] == ["spool not written"]
    assert (spool.counters.kept_ms, spool.counters.dropped_ms) == (0, 20_000)


def test_a_full_disk_costs_its_time_and_is_written_again_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    spool = unthreaded(tmp_path, clock)
    one = leg(spool)
    audio = talk(3)
    one.keep(audio[:200])
    spool.tick()
    with capture_logs() as logs:
        with monkeypatch.context() as patch:
            patch.setattr(os, "write", disk_full)
            for n in range(200, 400, 20):
                one.keep(audio[n : n + 20])
                spool.tick()
        one.keep(audio[400:])
        spool.tick()
    assert [log["event"] for log in logs] == ["spool not written", "spool written again"]
    assert (spool.counters.kept_ms, spool.counters.dropped_ms) == (8000, 4000)
    one.lose(0, 12_000)
    one.close()
    spool.stop()
    assert heard(tmp_path) == said(0, 2)


_BOUNDED = """
import resource, sys
from pathlib import Path
from bridge.spool.spool import Spool, SpoolSettings
from bridge.types import Codec, LegId, Party, Role
from tests.spool.test_journal import talk
spool = Spool(SpoolSettings(Path(sys.argv[1])))
leg = spool.leg(LegId("c", "1"), Party(Role.CALLER), Codec.ULAW, 1.7e9)
audio = talk(6)
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, resource.RLIM_INFINITY))
for n in range(0, len(audio), 10):
    leg.keep(audio[n : n + 10])
    spool.tick()
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
leg.lose(0, 24_000)
leg.close()
spool.stop()
print(spool.counters.kept_ms, spool.counters.dropped_ms, spool.counters.errors)
"""


def test_writes_that_the_system_cuts_off_half_way_spoil_nothing(tmp_path: Path) -> None:
    """A real limit on the size of files: the system writes a part of a record, and then refuses."""
    run = [sys.executable, "-c", _BOUNDED, str(tmp_path)]
    told = subprocess.run(run, capture_output=True, text=True, check=True, timeout=60).stdout
    kept, dropped, errors = map(float, told.splitlines()[-1].split())
    assert (kept + dropped, errors) == (24_000, dropped / 200)
    assert 0 < dropped < 6000
    (job,) = (tmp_path / "jobs").iterdir()
    pcm = (job / "audio.wav").read_bytes()[44:]
    whole = b"".join(to_pcm(frame.payload, Codec.ULAW) for frame in talk(6))
    packets = [(pcm[n : n + 320], whole[n : n + 320]) for n in range(0, len(whole), 320)]
    assert all(got in (b"", bytes(len(got)), was) for got, was in packets)
    assert sum(got != was for got, was in packets) * 20 <= dropped


def test_what_could_not_be_closed_is_closed_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    spool = unthreaded(tmp_path, clock)
    one = leg(spool)
    one.keep(talk(1))
    spool.tick()
    one.lose(0, 4000)
    one.close()
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", disk_full)
        for _ in range(3):
            spool.tick()
    assert (spool.jobs.count(), spool.counters.errors) == (0, 1)
    spool.tick()
    assert spool.jobs.count() == 0
    clock.now += 31
    spool.tick()
    assert heard(tmp_path) == said(0)
    spool.stop()


def test_a_fault_of_ours_does_not_end_the_thread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fault(*_: object) -> None:
        raise ZeroDivisionError

    with running(tmp_path) as spool:
        one, other = leg(spool, "1"), leg(spool, "2")
        with monkeypatch.context() as patch, capture_logs():
            patch.setattr(Journal, "write", fault)
            one.keep(talk(1))
            until(lambda: spool.counters.errors > 0)
        other.keep(talk(2))
        other.lose(0, 8000)
        one.close()
        other.close()
    assert heard(tmp_path) == said(0, 1)
    assert spool.counters.dropped_ms == 4000


def test_a_disk_that_stands_still_costs_no_memory_and_no_time(tmp_path: Path) -> None:
    spool = unthreaded(tmp_path, Clock())
    one = leg(spool)
    packet = [Frame(bytes(160), n * 20.0) for n in range(50)]
    rounds = QUEUE_BYTES // 8000 + 100
    for n in range(rounds):
        one.keep(packet)
        one.lose(n * 1000, n * 1000 + 500)
        one.covered(n * 1000)
    took = one.take()
    assert sum(len(frame.payload) for frame in took.frames) <= QUEUE_BYTES
    assert spool.counters.dropped_ms == (rounds - QUEUE_BYTES // 8000) * 1000
    assert len(list(took.lost)) <= 1000
    one.keep(packet)
    assert len(one.take().frames) == 50


def test_more_than_it_may_hold_goes_and_the_oldest_first(tmp_path: Path) -> None:
    clock = Clock()
    spool = unthreaded(tmp_path, clock, max_mb=1)
    audio = talk(8)
    with capture_logs() as logs:
        for n in range(3):
            one = spool.leg(LegId("c", str(n)), PARTY, Codec.ULAW, BEGAN + 100 * n)
            one.keep(audio)
            one.lose(0, 32_000)
            one.close()
            spool.tick()
    # 32 s are half a megabyte of PCM.
    assert (spool.counters.jobs_made, spool.counters.jobs_dropped, spool.jobs.count()) == (3, 2, 1)
    assert [log["event"] for log in logs] == ["spooled audio deleted unsent"] * 2
    with spool.jobs.oldest(1e12) or pytest.fail("none") as claim:
        assert claim.job.head.leg.channel == "2"
    spool.stop()


def test_live_audio_stops_at_the_bound_too(tmp_path: Path) -> None:
    clock = Clock()
    spool = unthreaded(tmp_path, clock, max_mb=1)
    one = leg(spool)
    frames = [Frame(bytes(8000), n * 1000.0) for n in range(200)]
    for frame in frames:
        one.keep([frame])
        spool.tick()
        clock.now += 6
    assert spool.counters.kept_ms == pytest.approx(125_000, abs=5000)
    assert spool.counters.kept_ms + spool.counters.dropped_ms == 200_000
    one.covered(150_000)
    spool.tick()
    clock.now += 6
    spool.tick()
    one.keep([Frame(bytes(8000), 200_000.0)])
    spool.tick()
    assert segments(tmp_path) == 1
    spool.stop()


def test_what_nobody_could_send_in_days_is_deleted(tmp_path: Path) -> None:
    clock = Clock()
    spool = unthreaded(tmp_path, clock, keep_days=2)
    one = leg(spool)
    one.keep(talk(1))
    one.lose(0, 4000)
    one.close()
    spool.tick()
    clock.now += 86400
    spool.tick()
    assert spool.jobs.count() == 1
    clock.now += 86400 + 10
    spool.tick()
    assert (spool.jobs.count(), spool.counters.jobs_expired) == (0, 1)
    spool.stop()


def test_check_leaves_nothing(tmp_path: Path) -> None:
    Spool(SpoolSettings(tmp_path / "a" / "b")).check()
    assert list((tmp_path / "a" / "b").iterdir()) == []


def test_a_range_may_be_lost_packet_by_packet(tmp_path: Path) -> None:
    """As a full ring tells it; and a range given in parts is one."""
    with running(tmp_path) as spool:
        one = leg(spool)
        for frame in talk(3):
            one.keep([frame])
            one.lose(frame.at_ms, frame.at_ms + 20)
        one.close()
    assert (spool.counters.jobs_made, heard(tmp_path)) == (1, said(0, 1, 2))
