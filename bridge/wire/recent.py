"""The last things that were said, in order, so that who was away can go on where it stopped.

Bounded by number. Some are only marked: what a later one replaces is not said again, but its name is known.
"""

from collections import deque
from collections.abc import Callable, Sequence
from itertools import islice
from typing import Generic, TypeVar

T = TypeVar("T")


class Recent(Generic[T]):
    """`keep` what is to be said again, `mark` what is not; `after` gives what was kept since either."""

    def __init__(self, most: int, most_names: int) -> None:
        """`most` things are kept, and the names of the last `most_names`, marked ones too."""
        self._kept: deque[T] = deque(maxlen=most)
        self._count = 0
        """How many were ever kept."""
        self._most_names = most_names
        self._places: dict[str, int] = {}
        """Name -> how many had been kept when it had been said, oldest first."""

    def __len__(self) -> int:
        return len(self._kept)

    def keep(self, name: str, thing: T) -> None:
        self._kept.append(thing)
        self._count += 1
        self.mark(name)

    def change(self, changed: Callable[[T], T]) -> None:
        """Each thing becomes what `changed` makes of it, under its name."""
        self._kept = deque(map(changed, self._kept), self._kept.maxlen)

    def mark(self, name: str) -> None:
        self._places.pop(name, None)
        self._places[name] = self._count
        if len(self._places) > self._most_names:
            del self._places[next(iter(self._places))]

    @property
    def whole(self) -> bool:
        """Whether all is there that was ever kept."""
        return self._count == len(self._kept)

    def all(self) -> Sequence[T]:
        return tuple(self._kept)

    def after(self, name: str) -> Sequence[T] | None:
        """What was kept after `name`; None where that is not known, or some of it is gone already."""
        place = self._places.get(name)
        first = self._count - len(self._kept)
        if place is None or place < first:
            return None
        return tuple(islice(self._kept, place - first, None))
