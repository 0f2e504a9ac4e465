"""bridge/wire/tapvalues.py: nothing that could be taken for more than one value gets into a request."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.wire.pbxevents import PbxError
from bridge.wire.tapvalues import checked_host, checked_id, checked_port


@given(st.text(max_size=200))
def test_an_id_is_one_argument_or_none(text: str) -> None:
    try:
        good = checked_id(text)
    except PbxError:
        return
    assert good == text
    assert good.isascii()
    assert not set(good) & set(", \r\n\0\t")
    assert 0 < len(good) < 150


@pytest.mark.parametrize(
    ("host", "written"), [("127.0.0.1", "127.0.0.1"), ("::1", "[::1]"), ("bridge-1.local", "bridge-1.local")]
)
def test_hosts_as_asterisk_reads_them(host: str, written: str) -> None:
    assert checked_host(host) == written


@pytest.mark.parametrize("host", ["", "a b", "a/b", "a:5", "h\r\nAction: Command", "한글"])
def test_what_is_no_host_is_refused(host: str) -> None:
    with pytest.raises(PbxError):
        checked_host(host)


@pytest.mark.parametrize("port", [0, -1, 65_536])
def test_what_is_no_port_is_refused(port: int) -> None:
    assert checked_port(5060) == 5060
    with pytest.raises(PbxError):
        checked_port(port)
