"""Jobs on disk: claimed once, remembered, put aside, and never more than they may be."""

import os
import shutil
import stat
from pathlib import Path

import pytest

from bridge.spool.jobs import AUDIO, SIDECAR, Jobs
from bridge.types import Codec, LegId, Party, Role
from bridge.wire.spoolfile import Job, LegHead, pack_job

HEAD = LegHead(LegId("c", "1"), Party(Role.CALLER, "01012345678"), Codec.ULAW, 1_700_000_000.0)
NOW = 1_800_000_000.0


def jobs_in(folder: Path) -> Jobs:
    jobs = Jobs(folder)
    jobs.open()
    return jobs


def made(jobs: Jobs, folder: Path, start_ms: int, size: int = 2000, **changed: object) -> Job:
    job = Job(HEAD, start_ms, start_ms + 1000).change(**changed)
    jobs.write(folder / f"{job.id}.new", job, bytes(size))
    jobs.take_in(folder / f"{job.id}.new", job.id)
    return job


def test_the_oldest_is_first_and_nobody_has_it_twice(tmp_path: Path) -> None:
    jobs, other = jobs_in(tmp_path), Jobs(tmp_path)
    later, first = made(jobs, tmp_path, 9000), made(jobs, tmp_path, 100)
    with jobs.oldest(NOW) or pytest.fail("none") as claim:
        assert claim.job == first
        with other.oldest(NOW) or pytest.fail("none") as second:
            assert second.job == later
            assert jobs.oldest(NOW) is None
    again = other.oldest(NOW)
    assert again is not None
    assert again.job == first
    again.release()
    again.release()


def test_a_job_waits_for_its_time(tmp_path: Path) -> None:
    jobs = jobs_in(tmp_path)
    made(jobs, tmp_path, 100, not_before=NOW + 1)
    second = made(jobs, tmp_path, 200)
    with jobs.oldest(NOW) or pytest.fail("none") as claim:
        assert claim.job == second
        assert jobs.oldest(NOW) is None
        with jobs.oldest(NOW + 1) or pytest.fail("none") as late:
            assert late.job.not_before == NOW + 1


def test_what_is_remembered_is_there_for_the_next(tmp_path: Path) -> None:
    jobs = jobs_in(tmp_path)
    job = made(jobs, tmp_path, 100)
    with jobs.oldest(NOW) or pytest.fail("none") as claim:
        claim.remember(job.change(transcribe_id="x", sent=1))
    with jobs.oldest(NOW) or pytest.fail("none") as claim:
        assert (claim.job.transcribe_id, claim.job.sent) == ("x", 1)
        assert len(claim.audio()) == 44 + 2000


def test_done_is_gone_and_put_aside_is_kept(tmp_path: Path) -> None:
    jobs = jobs_in(tmp_path)
    made(jobs, tmp_path, 100)
    kept = made(jobs, tmp_path, 200)
    with jobs.oldest(NOW) or pytest.fail("none") as claim:
        claim.done()
    with jobs.oldest(NOW) or pytest.fail("none") as claim:
        claim.put_aside()
    assert jobs.oldest(NOW) is None
    assert sorted(path.name for path in (tmp_path / "failed" / kept.id).iterdir()) == [AUDIO, SIDECAR]
    assert jobs.count() == 0
    assert not list((tmp_path / "jobs").iterdir())


def test_nobody_else_may_read_it(tmp_path: Path) -> None:
    jobs = jobs_in(tmp_path / "a" / "b")
    made(jobs, tmp_path / "a" / "b", 100)
    for path in (tmp_path / "a").rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path


def test_a_job_that_is_there_already_stays(tmp_path: Path) -> None:
    jobs = jobs_in(tmp_path)
    job = made(jobs, tmp_path, 100)
    with jobs.oldest(NOW) or pytest.fail("none") as claim:
        claim.remember(job.change(transcribe_id="x"))
    made(jobs, tmp_path, 100)
    with jobs.oldest(NOW) or pytest.fail("none") as claim:
        assert claim.job.transcribe_id == "x"
    assert jobs.count() == 1


def test_half_deleted_goes_and_a_spoiled_sidecar_is_put_aside(tmp_path: Path) -> None:
    jobs = jobs_in(tmp_path)
    half, spoiled, bare = (made(jobs, tmp_path, n) for n in (1, 2, 3))
    (tmp_path / "jobs" / half.id / SIDECAR).unlink()
    (tmp_path / "jobs" / spoiled.id / SIDECAR).write_bytes(b"{")
    (tmp_path / "jobs" / bare.id / AUDIO).unlink()
    assert jobs.oldest(NOW) is None
    assert jobs.count() == 0
    assert [path.name for path in (tmp_path / "failed").iterdir()] == [spoiled.id]


def test_the_oldest_go_when_there_are_too_many_failed_ones_first(tmp_path: Path) -> None:
    jobs = jobs_in(tmp_path)
    names = [made(jobs, tmp_path, n * 1000).id for n in range(4)]
    shutil.move(tmp_path / "jobs" / names[3], tmp_path / "failed" / names[3])
    with jobs.oldest(NOW) or pytest.fail("none") as claim:
        assert jobs.size() == 4 * 2044
        assert jobs.trim(2 * 2044) == 2
        assert claim.job.id == names[0]
    assert [path.name for path in sorted((tmp_path / "jobs").iterdir())] == [names[0], names[2]]
    assert jobs.trim(2 * 2044) == 0


def test_old_jobs_expire(tmp_path: Path) -> None:
    jobs = jobs_in(tmp_path)
    old, new = made(jobs, tmp_path, 1), made(jobs, tmp_path, 2)
    os.utime(tmp_path / "jobs" / old.id / AUDIO, (1000, 1000))
    assert jobs.expire(2000) == 1
    assert jobs.expire(2000) == 0
    assert [path.name for path in (tmp_path / "jobs").iterdir()] == [new.id]


def test_without_a_folder_there_is_nothing_and_no_fault(tmp_path: Path) -> None:
    jobs = Jobs(tmp_path / "none")
    assert (jobs.oldest(NOW), jobs.size(), jobs.trim(0), jobs.expire(NOW), jobs.count()) == (None, 0, 0, 0, 0)


def test_the_sidecar_is_the_job(tmp_path: Path) -> None:
    jobs = jobs_in(tmp_path)
    job = made(jobs, tmp_path, 5)
    assert (tmp_path / "jobs" / job.id / SIDECAR).read_bytes() == pack_job(job)
