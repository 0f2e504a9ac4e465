"""Records ARI's messages of one tapped two-party call from the real Asterisk into tests/captures/asterisk/.

`python -m tests.asterisk.record` after a change of Asterisk's version. The tests only read what it wrote.
"""

import json
import math
import socket
import struct
import threading
from pathlib import Path

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from tests.asterisk.pbx import HANGUP, Asterisk, wait_for

CAPTURES = Path(__file__).parents[1] / "captures" / "asterisk"


def tone(ms: int) -> bytes:
    """Linear PCM, 8 kHz."""
    return b"".join(struct.pack("<h", int(8000 * math.sin(i * 0.5))) for i in range(8 * ms))


def tap(pbx: Asterisk, tapped: str, port: int) -> None:
    """Tap a channel as the bridge does, sending to a UDP `port` of this machine."""
    pbx.originate(
        f"UnicastRTP/127.0.0.1:{port}/c(ulaw)",
        context="rtzr-tap",
        channelId=f"tap-{tapped}",
        formats="ulaw",
        variables={"RTZR_CHAN": tapped, "CDR_PROP(disable)": "1"},
    )


def _call(pbx: Asterisk, port: int) -> None:
    word = pbx.prompt("word", tone(200))
    call = pbx.two_party_call([(0.1, word), (0.1, HANGUP)], [(0, word)], ring_s=0.4)
    tap(pbx, call.caller, port)
    wait_for(lambda: len(pbx.channels()) == 5, 2, lambda: pbx.cli("core show channels"))
    _save("channels", pbx.channels())
    wait_for(lambda: bool(pbx.ari("GET", "bridges")), 2, lambda: "no bridge")
    _save("bridges", pbx.ari("GET", "bridges"))
    wait_for(lambda: not pbx.channels(), 5, lambda: pbx.cli("core show channels"))


def _save(name: str, value: object) -> None:
    text = json.dumps(value, indent=1, ensure_ascii=False)
    (CAPTURES / f"{name}.json").write_text(f"{text}\n", encoding="utf-8")


def record() -> None:
    """Write info.json, channels.json, bridges.json and events.json (all that Asterisk sent, in order)."""
    CAPTURES.mkdir(parents=True, exist_ok=True)
    events: list[object] = []
    with Asterisk() as pbx, socket.socket(type=socket.SOCK_DGRAM) as sink:
        sink.bind(("127.0.0.1", 0))
        _save("info", pbx.ari("GET", "asterisk/info"))
        query = f"app=rtzr-bridge&api_key={pbx.username}:{pbx.password}"
        with connect(f"{pbx.ari_url.replace('http', 'ws', 1)}/events?{query}", proxy=None) as events_socket:

            def listen() -> None:
                try:
                    events.extend(json.loads(text) for text in events_socket)
                except ConnectionClosed:
                    return

            listener = threading.Thread(target=listen)
            listener.start()
            pbx.ari("POST", "applications/rtzr-bridge/subscription", eventSource="channel:,bridge:")
            _call(pbx, sink.getsockname()[1])
            with connect(f"{pbx.ari_url.replace('http', 'ws', 1)}/events?{query}", proxy=None):
                wait_for(lambda: "ApplicationReplaced" in str(events[-1]), 2, lambda: "not replaced")
        listener.join()
    _save("events", events)


if __name__ == "__main__":
    record()
