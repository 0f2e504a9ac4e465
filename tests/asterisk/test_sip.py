"""A telephone that calls by SIP is announced by the administrator's own dialplan line, and can be tapped."""

import socket
from collections.abc import Iterator
from pathlib import Path

from tests.asterisk.pbx import Asterisk, wait_for
from tests.asterisk.record import tap, tone
from tests.asterisk.sip import sip_call


def test_sip_call_is_announced_and_heard(pbx: Asterisk, tmp_path: Path) -> None:
    pbx.answers_at("5551234", [(0.1, pbx.prompt("word", tone(200)))], ring_s=0.2)
    with socket.socket(type=socket.SOCK_DGRAM) as port:
        port.bind(("127.0.0.1", 0))
        port.settimeout(0.2)
        with sip_call(pbx, "5551234", b"\x2a\x55" * 4000, tmp_path):
            wait_for(lambda: len(pbx.channels()) == 3, 3, lambda: pbx.cli("core show channels"))
            (caller,) = (channel for channel in pbx.channels() if channel["name"].startswith("PJSIP/sipp"))
            assert caller["caller"]["number"] == "0298765432"
            (callee,) = (channel for channel in pbx.channels() if channel["name"].endswith(";1"))
            mark = f"{caller['id']}/{caller['id']}"
            assert [pbx.variable(channel["id"], "RTZR_CALL") for channel in (caller, callee)] == [mark, mark]
            tap(pbx, caller["id"], port.getsockname()[1])
        heard = b"".join(packet[12:] for packet in received(port))
    assert heard.count(b"\x2a\x55") > 3800, "nothing of the second that was spoken may be lost"


def received(port: socket.socket) -> Iterator[bytes]:
    """What a socket holds, until nothing comes for its time-out."""
    while True:
        try:
            yield port.recv(2048)
        except TimeoutError:
            return
