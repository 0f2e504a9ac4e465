"""bridge/wire/mounts.py: the nearest mount above a path tells its kind."""

import pytest

from bridge.wire.mounts import kind_at

MOUNTS = """\
/dev/sda1 / ext4 rw 0 0
proc /proc proc rw 0 0
filer:/x /srv nfs4 rw,vers=4.2 0 0
/dev/sdb1 /srv/local xfs rw 0 0
//pc/share /mnt/my\\040share cifs rw 0 0
/dev/sdc1 /over ext4 rw 0 0
tmpfs /over tmpfs rw 0 0
broken
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/", "ext4"),
        ("/var/lib", "ext4"),
        ("/srv", "nfs4"),
        ("/srv/a", "nfs4"),
        ("/srvx", "ext4"),
        ("/srv/local/a/b", "xfs"),
        ("/mnt/my share/a", "cifs"),
        ("/over/a", "tmpfs"),
    ],
)
def test_the_nearest_above_tells(path: str, kind: str) -> None:
    assert kind_at(MOUNTS, path) == kind


def test_nothing_is_known_of_nothing() -> None:
    assert kind_at("", "/a") == ""
