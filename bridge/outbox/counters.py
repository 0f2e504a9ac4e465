"""What the outbox counts. Values only."""

from dataclasses import dataclass


@dataclass(slots=True)
class OutboxCounters:
    """Everything since the start of the process."""

    written: int = 0
    """Events that were committed (or were there already)."""
    delivered: int = 0
    """Of all endpoints together."""
    given_up: int = 0
    """Taken from an endpoint by `drop`."""
    dropped_full: int = 0
    """Events that waited and went for `max_mb`."""
    dropped_old: int = 0
    """Events that waited and went after `keep_days`."""
    unwritable: int = 0
    """Events that cannot be stored, whatever the disk says: a fault of ours."""
    renamed: int = 0
    """Events that came with the id of another one, and were stored under one of their own."""
    errors: int = 0
    """Commits and reads that failed."""
    moved_aside: int = 0
    """Files that were damaged."""
    salvaged: int = 0
    """Events that waited in them, and wait again."""
    lost_damaged: int = 0
    """Events that waited in them and cannot be read, as far as that is known."""
