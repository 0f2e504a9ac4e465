"""One leg's audio on disk while it may still be needed: segments, and the marks that say what is not.

Everything here blocks and belongs in the spool's one thread. A segment holds a few seconds and is deleted as
soon as finals cover it; what is lost to the stream goes into jobs. Killed at any instant, the folder tells
the next process what is still owed: nothing twice, nothing left out but what had not been written.
"""

import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from bridge.spool.jobs import Jobs, make_folder
from bridge.types import Frame
from bridge.wire.spoolfile import (
    Closed,
    Covered,
    Job,
    LegHead,
    Lost,
    Piece,
    Record,
    Spans,
    Taken,
    pack,
    pieces,
    unpack,
)

SEGMENT_MS = 5000.0
HOLE_MS = 30_000.0
"""A longer silence parts two jobs: RTZR charges for silence too."""
LEAST_MS = 100.0
"""Less audio than this holds no word, and is not sent."""
_MARKS = "marks"
_SEGMENT = ".seg"
_NEW = ".new"


class _Appender:
    """A file that grows by whole records: a write that fails leaves nothing behind."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self.size = os.fstat(self._file).st_size

    def append(self, data: bytes) -> None:
        """Raises OSError."""
        rest = memoryview(data)
        try:
            while rest:
                rest = rest[os.write(self._file, rest) :]
        except OSError:
            os.ftruncate(self._file, self.size)
            raise
        self.size += len(data)

    def close(self) -> None:
        os.close(self._file)


@dataclass(slots=True)
class _Segment:
    path: Path
    start_ms: float
    end_ms: float
    size: int = 0


class Journal:
    """The folder of one leg."""

    def __init__(self, folder: Path, head: LegHead, jobs: Jobs) -> None:
        """Makes the folder. Raises OSError."""
        make_folder(folder)
        self._folder = folder
        self.head = head
        self._jobs = jobs
        self._segments: list[_Segment] = []
        self._file: _Appender | None = None
        self._marks: _Appender | None = None
        self._number = 0
        self._covered_ms = float("-inf")
        self._named: set[str] = set()
        self._taken = Spans()
        """What is in jobs: it is not lost again, however often it is said to be."""
        self.lost = Spans()
        """What will not be streamed and is in no job yet."""
        self.jobs_made = 0

    @classmethod
    def reopen(cls, folder: Path, jobs: Jobs) -> Self | None:
        """What a process that was killed left; all that is not covered is lost. None where no audio is.

        Raises OSError.
        """
        found = sorted(folder.glob(f"*{_SEGMENT}"))
        head = next((r for path in found for r in unpack(path.read_bytes()) if isinstance(r, LegHead)), None)
        if head is None:
            return None
        journal = cls(folder, head, jobs)
        journal._segments = [segment for path in found if (segment := _indexed(path, head)) is not None]
        journal._number = len(found)
        journal._read_marks()
        return journal

    @property
    def size(self) -> int:
        """Bytes of audio on the disk."""
        return sum(segment.size for segment in self._segments)

    def write(self, frames: Sequence[Frame]) -> None:
        """Append audio. Raises OSError; then none of it is kept."""
        try:
            segment, file = self._segment_for(frames[0])
            file.append(b"".join(map(pack, frames)))
        except OSError:
            self._end_segment()
            raise
        last = frames[-1]
        segment.end_ms = max(segment.end_ms, last.at_ms + self.head.codec.ms(len(last.payload)))
        segment.size = file.size

    def cover(self, call_ms: float) -> None:
        """Everything before `call_ms` was told: unless it is lost, it is deleted. Raises OSError."""
        if call_ms > self._covered_ms:
            self._covered_ms = call_ms
            self._end_segment()
            self._mark(Covered(call_ms))
            self._sweep()

    def lose(self, spans: Spans) -> None:
        """These ranges will not be streamed. Raises OSError; they are lost all the same."""
        new = spans.copy()
        for start, end in self._taken:
            new.remove(start, end)
        for start, end in new:
            self.lost.add(start, end)
        self._mark(*(Lost(start, end) for start, end in new))

    def give(self, longest_ms: float, *, rest: bool) -> None:
        """Make jobs of what is lost; without `rest`, not of the last part, which may go on.

        Raises OSError; to be tried again.
        """
        self._move()
        wanted, done_ms, end_ms = self.lost.copy(), self.lost.start_ms, self.lost.end_ms
        frames, codec = self._frames(wanted), self.head.codec
        for piece in pieces(frames, wanted, codec, hole_ms=HOLE_MS, longest_ms=longest_ms, rest=rest):
            self._make(piece, done_ms)
            done_ms = piece.end_ms
        if rest:
            self._take(done_ms, end_ms, "")
        self._sweep()

    def close(self, longest_ms: float) -> None:
        """The leg is over: what is lost becomes jobs, the rest is deleted.

        Raises OSError; to be tried again.
        """
        self._end_segment()
        self._mark(Closed())
        self.give(longest_ms, rest=True)
        self.shut()
        shutil.rmtree(self._folder)

    def shut(self) -> None:
        """Close the files and leave the folder as it is."""
        self._end_segment()
        if self._marks is not None:
            self._marks.close()
            self._marks = None

    def _segment_for(self, first: Frame) -> tuple[_Segment, _Appender]:
        if self._file is not None:
            segment = self._segments[-1]
            if segment.end_ms - segment.start_ms < SEGMENT_MS:
                return segment, self._file
            self._end_segment()
        self._number += 1
        path = self._folder / f"{self._number:08d}{_SEGMENT}"
        self._file = _Appender(path)
        self._file.append(pack(self.head))
        segment = _Segment(path, first.at_ms, first.at_ms)
        self._segments.append(segment)
        return segment, self._file

    def _end_segment(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def _sweep(self) -> None:
        """Delete the segments that nobody needs."""
        for segment in list(self._segments):
            open_now = self._file is not None and segment is self._segments[-1]
            told = segment.end_ms <= self._covered_ms
            if told and not open_now and not self.lost.overlaps(segment.start_ms, segment.end_ms):
                segment.path.unlink(missing_ok=True)
                self._segments.remove(segment)

    def _frames(self, wanted: Spans) -> Iterator[Frame]:
        for segment in list(self._segments):
            if wanted.overlaps(segment.start_ms, segment.end_ms):
                yield from (r for r in unpack(segment.path.read_bytes()) if isinstance(r, Frame))

    def _make(self, piece: Piece, from_ms: float) -> None:
        """One job: written, marked, moved in, so that a kill between any two makes neither two nor none."""
        job = Job(self.head, round(piece.start_ms), round(piece.end_ms))
        if piece.ms >= LEAST_MS:
            self._jobs.write(self._folder / f"{job.id}{_NEW}", job, piece.pcm)
            self.jobs_made += 1
        self._take(from_ms, piece.end_ms, job.id)
        self._move()

    def _take(self, from_ms: float, end_ms: float, job: str) -> None:
        """What was lost in this range is in the job, or no audio. Raises OSError; then it is still lost."""
        ranges = list(self.lost.within(from_ms, end_ms))
        self._mark(*(Taken(start, end, job) for start, end in ranges))
        self._named.add(job)
        for start, end in ranges:
            self._taken.add(start, end)
        self.lost.remove(from_ms, end_ms)

    def _move(self) -> None:
        """Move in the jobs that are marked; what was not marked is not theirs."""
        for folder in self._folder.glob(f"*{_NEW}"):
            name = folder.name.removesuffix(_NEW)
            if name in self._named:
                self._jobs.take_in(folder, name)
            else:
                shutil.rmtree(folder)

    def _mark(self, *records: Record) -> None:
        """In one write: a kill finds all of them or none."""
        if self._marks is None:
            self._marks = _Appender(self._folder / _MARKS)
        self._marks.append(b"".join(map(pack, records)))

    def _read_marks(self) -> None:
        marks = self._folder / _MARKS
        records = list(unpack(marks.read_bytes())) if marks.exists() else []
        lost = Spans()
        for record in records:
            if isinstance(record, Lost):
                lost.add(record.start_ms, record.end_ms)
            elif isinstance(record, Taken):
                self._taken.add(record.start_ms, record.end_ms)
                self._named.add(record.job)
            elif isinstance(record, Covered):
                self._covered_ms = max(self._covered_ms, record.call_ms)
        if Closed() not in records and self._segments:
            lost.add(self._covered_ms, max(segment.end_ms for segment in self._segments))
        self._truncate_marks(sum(len(pack(record)) for record in records))
        self.lose(lost)

    def _truncate_marks(self, whole: int) -> None:
        """What a kill cut off in mid-record must not stand before the next mark."""
        if (self._folder / _MARKS).exists():
            os.truncate(self._folder / _MARKS, whole)


def _indexed(path: Path, head: LegHead) -> _Segment | None:
    frames = [record for record in unpack(path.read_bytes()) if isinstance(record, Frame)]
    if not frames:
        return None
    end_ms = max(frame.at_ms + head.codec.ms(len(frame.payload)) for frame in frames)
    return _Segment(path, min(frame.at_ms for frame in frames), end_ms, path.stat().st_size)
