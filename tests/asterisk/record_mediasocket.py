"""Records what a real Asterisk says over chan_websocket into tests/captures/asterisk/mediasocket.jsonl.

`python -m tests.asterisk.record_mediasocket` after a change of Asterisk's version. The tests only read it.
"""

import json
import threading
from collections.abc import Iterator

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect
from websockets.sync.connection import Connection
from websockets.sync.server import ServerConnection, serve
from websockets.typing import Subprotocol

from tests.asterisk.pbx import Asterisk, wait_for
from tests.asterisk.record import CAPTURES, tone

COMMANDS = {
    "f(json)": ['{"command":"GET_STATUS"}', "nonsense", '{"command":"REPORT_QUEUE_DRAINED"}'],
    "": ["GET_STATUS", "nonsense", "SET_MEDIA_DIRECTION in", "REPORT_QUEUE_DRAINED"],
}
"""By how the messages are spelt."""
MEDIA = [Subprotocol("media")]
AUDIO_KEPT = 2
"""Binary messages of a connection that are written down."""

Line = dict[str, object]


def _read(socket: Connection, name: str, spelt: str) -> Iterator[Line]:
    """What comes until Asterisk closes: texts, the first of the audio, how much there was, the close."""
    sizes: list[int] = []
    for command in COMMANDS[spelt]:
        socket.send(command)
    try:
        while True:
            message = socket.recv(10)
            if isinstance(message, str):
                yield {"connection": name, "text": message}
            else:
                sizes.append(len(message))
                if len(sizes) <= AUDIO_KEPT:
                    yield {"connection": name, "hex": message.hex()}
    except ConnectionClosed:
        yield {"connection": name, "sizes": sizes, "closed": socket.protocol.close_code}


def _originate(pbx: Asterisk, where: str, codec: str, options: str, word: str) -> str:
    return pbx.originate(
        f"WebSocket/{where}/c({codec}){options}",
        context="hear-prompt",
        channelId=f"heard-{where}-{codec}",
        formats=codec,
        variables={"PROMPT": word, "CDR_PROP(disable)": "1"},
    )


def _fetched(pbx: Asterisk, codec: str, spelt: str, direction: str) -> Iterator[Line]:
    channel = _originate(pbx, "INCOMING", codec, f"{spelt}d({direction})", "word")
    where = pbx.variable(channel, "MEDIA_WEBSOCKET_CONNECTION_ID")
    url = f"ws://127.0.0.1:{pbx.places.http_port}/media/{where}"
    with connect(url, subprotocols=MEDIA, compression=None, proxy=None, ping_interval=None) as socket:
        yield from _read(socket, f"fetched {codec} {spelt or 'plain'} {direction}", spelt)
    wait_for(lambda: not pbx.channels(), 5, lambda: pbx.cli("core show channels"))


def _brought(pbx: Asterisk, codec: str, spelt: str) -> list[Line]:
    lines: list[Line] = []

    def take(socket: ServerConnection) -> None:
        assert socket.request is not None
        name = f"brought {codec} {spelt or 'plain'} in"
        lines.append({"connection": name, "path": socket.request.path})
        lines.extend(_read(socket, name, spelt))

    with serve(take, "127.0.0.1", pbx.places.media_port, subprotocols=MEDIA, compression=None) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        _originate(pbx, "rtzr-bridge", codec, f"{spelt}d(in)v(leg=a-key.of_16.letters)", "word")
        wait_for(lambda: bool(lines) and "closed" in lines[-1], 10, lambda: pbx.log()[-3000:])
        server.shutdown()
        thread.join()
    return lines


def record() -> None:
    with Asterisk() as pbx:
        pbx.prompt("word", tone(200))
        lines: list[Line] = []
        for codec in ("ulaw", "alaw", "slin", "slin16"):
            lines += _fetched(pbx, codec, "f(json)", "in")
        lines += _fetched(pbx, "ulaw", "", "in")
        lines += _fetched(pbx, "ulaw", "f(json)", "both")
        lines += _fetched(pbx, "ulaw", "", "both")
        lines += _brought(pbx, "slin16", "f(json)")
        lines += _brought(pbx, "ulaw", "")
    text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
    (CAPTURES / "mediasocket.jsonl").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    record()
