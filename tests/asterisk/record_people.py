"""Records the scenes of scenes.py from the real Asterisk, over ARI and AMI, into captures/asterisk/people.

`python -m tests.asterisk.record_people [folder [scene ...]]` after a change of Asterisk's version. The tests
only read what it wrote: `<scene>.ari.jsonl`, one event a line, and `<scene>.ami.txt`, AMI's own text.
"""

import json
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from tests.asterisk.pbx import Asterisk, wait_for
from tests.asterisk.record import CAPTURES
from tests.asterisk.scenes import SCENES, Stage
from tests.asterisk.telephones import Telephones

APP = "recorder"
LEFT_OUT = {"ChannelDialplan", "ChannelVarset", "ChannelDtmfReceived"}
"""Nine tenths of ARI's text, and nothing about who speaks with whom."""


@contextmanager
def ari_events(pbx: Asterisk, lines: list[str]) -> Iterator[None]:
    """All that ARI sends meanwhile about channels and bridges."""
    address = f"{pbx.ari_url.replace('http', 'ws', 1)}/events?app={APP}&api_key={pbx.username}:{pbx.password}"

    def listen() -> None:
        try:
            lines.extend(str(text) for text in events)
        except ConnectionClosed:
            return

    with connect(address, proxy=None) as events:
        listener = threading.Thread(target=listen)
        listener.start()
        pbx.ari("POST", f"applications/{APP}/subscription", eventSource="channel:,bridge:")
        try:
            yield
        finally:
            events.close()
            listener.join()


@contextmanager
def ami_events(pbx: Asterisk, texts: list[bytes]) -> Iterator[None]:
    """All that AMI sends meanwhile to a user who reads calls, agents and the dialplan's events."""
    with socket.create_connection(("127.0.0.1", pbx.ami_port)) as manager:
        login = f"Action: Login\r\nUsername: {pbx.username}\r\nSecret: {pbx.password}\r\n"
        manager.sendall(f"{login}Events: call,agent,user\r\n\r\n".encode())

        def listen() -> None:
            while text := manager.recv(65536):
                texts.append(text)

        listener = threading.Thread(target=listen)
        listener.start()
        wait_for(lambda: b"Authentication accepted" in b"".join(texts), 5, lambda: str(texts))
        try:
            yield
        finally:
            manager.shutdown(socket.SHUT_RDWR)
            listener.join()


def trimmed(lines: list[str]) -> str:
    """ARI's events, one a line, without those that are LEFT_OUT."""
    events = [event for event in map(json.loads, lines) if event["type"] not in LEFT_OUT]
    texts = (json.dumps(event, ensure_ascii=False, separators=(",", ":")) for event in events)
    return "".join(f"{text}\n" for text in texts)


def record(phones: Telephones, scene: str, folder: Path) -> dict[str, list[int]]:
    """Play one scene and write what the PBX told of it; what was said is returned."""
    stage, ari, ami = Stage(phones), list[str](), list[bytes]()
    with ari_events(phones.pbx, ari), ami_events(phones.pbx, ami):
        SCENES[scene](stage)
        wait_for(lambda: not phones.pbx.channels(), 10, lambda: phones.pbx.cli("core show channels"))
        time.sleep(0.3)
    (folder / f"{scene}.ari.jsonl").write_text(trimmed(ari), encoding="utf-8")
    (folder / f"{scene}.ami.txt").write_bytes(b"".join(ami))
    return stage.said


def main(folder: Path, scenes: list[str]) -> None:
    """Record the scenes, each by itself."""
    folder.mkdir(parents=True, exist_ok=True)
    with Asterisk() as pbx, Telephones(pbx) as phones:
        for scene in scenes:
            record(phones, scene, folder)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if sys.argv[1:] else CAPTURES / "people", sys.argv[2:] or list(SCENES))
