"""One leg's folder: what is told is deleted, what is lost becomes jobs, whenever the process is killed."""

import os
import shutil
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.emulator.codebook import SENTENCES, say, spoken_ms
from bridge.emulator.files import hear
from bridge.spool.jobs import Jobs
from bridge.spool.journal import Journal
from bridge.types import Codec, Frame, LegId, Party, Role
from bridge.wire.spoolfile import Closed, LegHead, pack
from tests.scale import scaled
from tests.wire.test_spoolfile import frames, spans

HEAD_PCM = LegHead(LegId("c", "1"), Party(Role.CALLER), Codec.SLIN, 1_700_000_000.0)
HEAD = LegHead(LegId("c", "1"), Party(Role.CALLER, "01012345678"), Codec.ULAW, 1_700_000_000.0)
LONGEST = 300_000.0
SENTENCE_MS = 4000


def talk(count: int) -> list[Frame]:
    """Sentence n begins at second 4 n; each is shorter than that."""
    made = []
    for n, sentence in enumerate(SENTENCES[:count]):
        pcm = say(sentence)
        made += frames(pcm + bytes(16 * SENTENCE_MS - len(pcm)), at_ms=n * SENTENCE_MS)
    return made


def journal_in(folder: Path) -> Journal:
    jobs = Jobs(folder)
    jobs.open()
    return Journal(folder / "live" / "run" / "leg", HEAD, jobs)


def write(journal: Journal, audio: list[Frame]) -> None:
    """As the spool does: some packets at a time."""
    for n in range(0, len(audio), 12):
        journal.write(audio[n : n + 12])


def reopened(folder: Path) -> Journal | None:
    return Journal.reopen(folder / "live" / "run" / "leg", Jobs(folder))


def heard(folder: Path) -> list[tuple[int, str]]:
    """What all jobs say, with the second of the call in which it begins."""
    found: list[tuple[int, str]] = []
    jobs, claims = Jobs(folder), []
    while (claim := jobs.oldest(1e12)) is not None:
        claims.append(claim)
        start, utterances = claim.job.start_ms, hear(claim.audio())[0]
        found += [(round((start + each["start_at"]) / 1000), each["msg"]) for each in utterances]
    for claim in claims:
        claim.release()
    return sorted(found)


def said(*numbers: int) -> list[tuple[int, str]]:
    return [(n * SENTENCE_MS // 1000, SENTENCES[n]) for n in numbers]


def segments(folder: Path) -> int:
    return len(list(folder.rglob("*.seg")))


def test_the_sentences_fit() -> None:
    assert max(map(spoken_ms, SENTENCES[:8])) < SENTENCE_MS - 600


def test_what_is_told_leaves_the_disk_at_once(tmp_path: Path) -> None:
    journal = journal_in(tmp_path)
    write(journal, talk(6))
    assert segments(tmp_path) > 3
    journal.cover(24_000)
    assert segments(tmp_path) == 0
    journal.close(LONGEST)
    assert not (tmp_path / "live" / "run" / "leg").exists()
    assert heard(tmp_path) == []


def test_what_was_lost_is_sent_and_nothing_else(tmp_path: Path) -> None:
    journal = journal_in(tmp_path)
    write(journal, talk(6))
    journal.lose(spans((4000, 8000), (12_000, 20_000)))
    journal.cover(24_000)
    assert segments(tmp_path) > 0
    journal.close(LONGEST)
    assert heard(tmp_path) == said(1, 3, 4)
    assert journal.jobs_made == 1
    assert segments(tmp_path) == 0


def test_lost_ranges_far_apart_are_jobs_of_their_own(tmp_path: Path) -> None:
    journal = journal_in(tmp_path)
    write(journal, talk(12))
    journal.lose(spans((0, 4000), (44_000, 48_000)))
    journal.close(LONGEST)
    assert journal.jobs_made == 2
    assert heard(tmp_path) == said(0, 11)


def test_a_loss_that_goes_on_becomes_jobs_while_it_does(tmp_path: Path) -> None:
    journal = journal_in(tmp_path)
    audio = talk(12)
    for n in range(0, len(audio), 50):
        journal.write(audio[n : n + 50])
        journal.lose(spans((n * 20, n * 20 + 1000)))
        journal.cover(n * 20 + 1000)
        journal.give(12_000, rest=False)
    assert journal.jobs_made > 2
    assert segments(tmp_path) < 5
    journal.close(12_000)
    assert heard(tmp_path) == said(*range(12))


def test_a_scrap_that_holds_no_word_is_not_sent(tmp_path: Path) -> None:
    journal = journal_in(tmp_path)
    write(journal, talk(1))
    journal.lose(spans((100, 160)))
    journal.close(LONGEST)
    assert journal.jobs_made == 0
    assert not list((tmp_path / "jobs").iterdir())


def test_a_range_without_audio_makes_no_job(tmp_path: Path) -> None:
    journal = journal_in(tmp_path)
    journal.lose(spans((0, 5000)))
    journal.close(LONGEST)
    assert journal.jobs_made == 0


# After a kill.


def test_after_a_kill_all_that_was_not_told_is_sent(tmp_path: Path) -> None:
    journal = journal_in(tmp_path)
    write(journal, talk(6))
    journal.lose(spans((0, 4000)))
    journal.cover(12_000)
    found = reopened(tmp_path)
    assert found is not None
    found.close(LONGEST)
    assert heard(tmp_path) == said(0, 3, 4, 5)


def test_of_a_leg_that_had_ended_only_the_lost_is_sent(tmp_path: Path) -> None:
    journal = journal_in(tmp_path)
    write(journal, talk(4))
    journal.lose(spans((4000, 8000)))
    shutil.copytree(tmp_path / "live", tmp_path / "before")
    journal.close(LONGEST)
    marks = sorted((tmp_path / "before").rglob("marks"))[0]
    with marks.open("ab") as file:
        file.write(closed_mark())
    shutil.rmtree(tmp_path / "jobs")
    shutil.move(tmp_path / "before", tmp_path / "was")
    found = Journal.reopen(tmp_path / "was" / "run" / "leg", Jobs(tmp_path))
    assert found is not None
    found.close(LONGEST)
    assert heard(tmp_path) == said(1)


def closed_mark() -> bytes:
    return pack(Closed())


def test_killed_between_any_two_steps_of_making_jobs_nothing_is_sent_twice(tmp_path: Path) -> None:
    """The disk as it is after every call that changes it; each is what a kill there leaves behind."""
    states: list[str] = []

    def snapshot(name: str) -> None:
        states.append(f"{len(states):03d}-{name}")
        shutil.copytree(tmp_path / "spool", tmp_path / "states" / states[-1])

    journal = journal_in(tmp_path / "spool")
    write(journal, talk(12))
    journal.cover(4000)
    with pytest.MonkeyPatch.context() as patch:
        for owner, name in (
            (os, "fsync"),
            (os, "write"),
            (os, "unlink"),
            (Path, "rename"),
            (shutil, "rmtree"),
        ):
            real = getattr(owner, name)

            def recording(*args: object, real: object = real, name: str = name, **more: object) -> object:
                result = real(*args, **more)  # type: ignore[operator]
                snapshot(name)
                return result

            patch.setattr(owner, name, recording)
        journal.lose(spans((4000, 12_000), (44_000, 48_000)))
        journal.cover(48_000)
        journal.close(LONGEST)
    assert len(states) > 10
    for state in states:
        folder = tmp_path / "states" / state
        found = reopened(folder) if (folder / "live" / "run" / "leg").exists() else None
        if found is not None:
            found.close(LONGEST)
        words = [second for second, _ in heard(folder)]
        assert len(words) == len(set(words)), state
        assert {4, 8, 44} <= set(words), state
    assert heard(tmp_path / "spool") == said(1, 2, 11)


@pytest.mark.parametrize("cut", [1, 100, 333, 1500, 4000])
def test_a_segment_cut_off_in_mid_record_is_read_up_to_there(tmp_path: Path, cut: int) -> None:
    journal = journal_in(tmp_path)
    write(journal, talk(3))
    last = max(tmp_path.rglob("*.seg"))
    os.truncate(last, last.stat().st_size - cut)
    found = reopened(tmp_path)
    assert found is not None
    found.close(LONGEST)
    assert heard(tmp_path)[:2] == said(0, 1)


def test_a_mark_cut_off_does_not_spoil_the_next(tmp_path: Path) -> None:
    journal = journal_in(tmp_path)
    write(journal, talk(3))
    journal.cover(4000)
    marks = next(tmp_path.rglob("marks"))
    with marks.open("ab") as file:
        file.write(closed_mark()[:-2])
    found = reopened(tmp_path)
    assert found is not None
    assert list(found.lost) == [(4000, 12_000)]
    found.give(LONGEST, rest=True)
    found.shut()  # killed again, with the jobs made and the rest not yet deleted
    again = reopened(tmp_path)
    assert again is not None
    assert not again.lost
    again.close(LONGEST)
    assert heard(tmp_path) == said(1, 2)
    assert Jobs(tmp_path).count() == 1


def test_what_lies_between_two_lost_ranges_is_owed_after_a_kill(tmp_path: Path) -> None:
    journal = journal_in(tmp_path)
    write(journal, talk(5))
    journal.lose(spans((0, 4000), (8000, 12_000)))
    journal.give(LONGEST, rest=True)
    assert heard(tmp_path) == said(0, 2)
    journal.shut()
    found = reopened(tmp_path)
    assert found is not None
    found.close(LONGEST)
    assert heard(tmp_path) == said(0, 1, 2, 3, 4)


def test_what_is_lost_twice_is_sent_once(tmp_path: Path) -> None:
    journal = journal_in(tmp_path)
    write(journal, talk(5))
    journal.lose(spans((4000, 8000)))
    journal.give(LONGEST, rest=True)
    journal.lose(spans((0, 12_000)))
    journal.close(LONGEST)
    assert heard(tmp_path) == said(0, 1, 2)


def test_a_folder_without_audio_is_nothing(tmp_path: Path) -> None:
    (tmp_path / "live" / "run" / "leg").mkdir(parents=True)
    assert reopened(tmp_path) is None
    (tmp_path / "live" / "run" / "leg" / "00000001.seg").write_bytes(b"\0" * 50)
    assert reopened(tmp_path) is None


STEP_MS = 100
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("write"), st.integers(1, 30), st.just(0)),
        st.tuples(st.just("wait"), st.integers(1, 60), st.just(0)),
        st.tuples(st.just("lose"), st.integers(0, 60), st.integers(1, 40)),
        st.tuples(st.just("cover"), st.integers(0, 60), st.just(0)),
        st.tuples(st.just("give"), st.integers(0, 1), st.just(0)),
    ),
    max_size=25,
)


class Model:
    """A journal beside what must come of it: each tenth of a second has a sample value of its own."""

    def __init__(self, folder: Path) -> None:
        self.jobs = Jobs(folder)
        self.jobs.open()
        self.folder = folder / "leg"
        self.journal = Journal(self.folder, HEAD_PCM, self.jobs)
        self.now = 0
        self.covered = 0
        self.written: set[int] = set()
        self.lost: set[int] = set()

    def step(self, name: str, first: int, length: int) -> None:
        if name == "write":
            ticks = range(self.now, self.now + first)
            sound = [Frame(value(tick) * 8 * STEP_MS, float(tick * STEP_MS)) for tick in ticks]
            self.journal.write(sound)
            self.written |= set(ticks)
        if name in ("write", "wait"):
            self.now += first
        elif name == "lose":
            start = min(self.covered + first, self.now)
            end = min(start + length, self.now)
            self.journal.lose(spans((start * STEP_MS, end * STEP_MS)))
            self.lost |= set(range(start, end))
        elif name == "cover":
            self.covered = max(self.covered, min(self.covered + first, self.now))
            self.journal.cover(self.covered * STEP_MS)
        elif name == "give":
            self.journal.give(3000, rest=bool(first))

    def end(self, *, killed: bool) -> set[int]:
        """The ticks that must be in the jobs."""
        if killed:
            self.journal.shut()
            first = Journal.reopen(self.folder, self.jobs)
            if first is not None:
                first.give(3000, rest=False)
                first.shut()  # and killed again
                second = Journal.reopen(self.folder, self.jobs)
                assert second is not None
                second.close(3000)
            return self.written & (self.lost | set(range(self.covered, self.now)))
        self.journal.close(3000)
        return self.written & self.lost


def value(tick: int) -> bytes:
    return (tick + 1).to_bytes(2, "little")


def ticks_of(jobs: Jobs) -> list[int]:
    """Every tenth of a second that some job holds, each sample of it in its place."""
    found, claims = [], []
    while (claim := jobs.oldest(1e12)) is not None:
        claims.append(claim)
        pcm = claim.audio()[44:]
        for at in range(0, len(pcm), 16 * 20):
            part = pcm[at : at + 16 * 20]
            tick = (claim.job.start_ms + at // 16) // STEP_MS
            if any(part):
                assert part == value(tick) * (len(part) // 2)
                found.append((tick, (claim.job.start_ms + at // 16) % STEP_MS // 20))
    for claim in claims:
        claim.release()
    assert len(found) == len(set(found)), "sent twice"
    assert len(found) == 5 * len({tick for tick, _ in found}), "not whole"
    return sorted({tick for tick, _ in found})


@settings(max_examples=scaled(1000))
@given(steps=STEPS, killed=st.booleans())
def test_whatever_happens_each_sample_is_owed_once_or_told(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, int, int]], killed: bool
) -> None:
    folder = tmp_path_factory.mktemp("model")
    model = Model(folder)
    for step in steps:
        model.step(*step)
    expected = model.end(killed=killed)
    assert ticks_of(model.jobs) == sorted(expected)
    shutil.rmtree(folder)


# A disk that fails.


def test_a_disk_that_is_full_while_jobs_are_made_loses_nothing(tmp_path: Path) -> None:
    journal = journal_in(tmp_path)
    write(journal, talk(3))
    journal.lose(spans((0, 12_000)))
    with pytest.MonkeyPatch.context() as patch:

        def full(*_: object) -> None:
            raise OSError(28, "No space left on device")

        patch.setattr(os, "fsync", full)
        for _ in range(3):
            with pytest.raises(OSError, match="No space"):
                journal.close(LONGEST)
    assert Jobs(tmp_path).count() == 0
    journal.close(LONGEST)
    assert heard(tmp_path) == said(0, 1, 2)


def test_a_write_that_failed_half_way_leaves_what_was_before_and_comes_after(tmp_path: Path) -> None:
    journal = journal_in(tmp_path)
    audio = talk(3)
    write(journal, audio[:200])
    real = os.write

    def half(file: int, data: memoryview) -> int:
        if len(data) < 1000:
            raise OSError(28, "No space left on device")
        return real(file, data[: len(data) // 2])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "write", half)
        with pytest.raises(OSError, match="No space"):
            journal.write(audio[200:220])
    write(journal, audio[400:])
    journal.lose(spans((0, 12_000)))
    journal.close(LONGEST)
    assert heard(tmp_path) == said(0, 2)


def test_lost_is_lost_even_where_it_could_not_be_marked(tmp_path: Path) -> None:
    journal = journal_in(tmp_path)
    write(journal, talk(1))

    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "write", full)
        with pytest.raises(OSError, match="No space"):
            journal.lose(spans((0, 4000)))
    journal.cover(4000)
    journal.close(LONGEST)
    assert heard(tmp_path) == said(0)
