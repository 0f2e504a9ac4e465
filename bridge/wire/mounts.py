"""What kind of file system a path is on, by Linux' table in /proc/mounts (proc(5), fstab(5))."""

import re


def kind_at(mounts: str, path: str) -> str:
    """The kind, such as ext4 or nfs4, of what is mounted at `path` or nearest above it; "" if nothing is.
    `path` is absolute and without links."""
    kind, length = "", -1
    for line in mounts.splitlines():
        fields = line.split(" ")
        if len(fields) < 3:
            continue
        at = _plain(fields[1]).rstrip("/")
        # Of two at one place the later one lies over the other.
        if (path == at or path.startswith(f"{at}/")) and len(at) >= length:
            kind, length = fields[2], len(at)
    return kind


def _plain(written: str) -> str:
    """Spaces and the like stand there as `\\040`."""
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), written)
