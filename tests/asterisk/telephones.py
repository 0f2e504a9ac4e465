"""Real SIP telephones for the test's Asterisk: a second Asterisk, each of whose channels is one person's.

What a person does (call, answer, speak, press keys, hold, transfer, hang up) is done over that one's ARI, and
blocks until it is done. Which numbers there are is in company.py; what happens in the PBX is no concern here.
"""

import json
import threading
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Self
from urllib.parse import quote

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from bridge.emulator.codebook import SENTENCES, say
from tests.asterisk.pbx import Asterisk

APP = "telephones"
PATIENCE_S = 10.0

_DIALPLAN = f"""
[phones]
exten => _[*#0-9]!,1,Ringing()
 same => n,Stasis({APP},${{EXTEN}})
 same => n,Hangup()

; A telephone that transfers by SIP (REFER): it is rid of the call then.
[refer]
exten => s,1,Transfer(PJSIP/${{REFER_TO}})
 same => n,Hangup()
"""

_PJSIP = """
[global]
type = global
endpoint_identifier_order = ip

[transport-phones]
type = transport
protocol = udp
bind = 127.0.0.1:PORT

[transport-trunk]
type = transport
protocol = udp
bind = 127.0.0.2:PORT

[line](!)
type = endpoint
context = phones
disallow = all
allow = ulaw,alaw
direct_media = no
moh_passthrough = yes
media_address = 127.0.0.1
bind_rtp_to_media_address = yes
aors = pbx

[pbx](line)
transport = transport-phones

[trunk](line)
transport = transport-trunk

[pbx]
type = aor
contact = sip:PBX

[pbx]
type = identify
endpoint = pbx
match = 127.0.0.1
"""


class Telephones(Asterisk):
    """The telephones of one PBX, and what is behind its trunk. A context manager, within the PBX's."""

    def __init__(self, pbx: Asterisk) -> None:
        self.pbx = pbx
        super().__init__(sip_port=pbx.places.phones_port)
        for index, sentence in enumerate(SENTENCES):
            self.prompt(f"s{index}", say(sentence))
        self._changed = threading.Condition()
        self._ringing: dict[str, list[str]] = {}
        """Channels that a number was called on and that nobody has taken yet."""
        self._up: set[str] = set()
        self._gone: set[str] = set()
        self._played: set[str] = set()
        self._listening = ExitStack()
        self._listener: threading.Thread | None = None

    def _changes(self) -> dict[str, str]:
        text = _PJSIP.replace("PORT", str(self.pbx.places.phones_port))
        return {"extensions.conf": _DIALPLAN, "pjsip.conf": text.replace("PBX", self.pbx.sip_address)}

    def start(self) -> None:
        super().start()
        address = f"{self.ari_url.replace('http', 'ws', 1)}/events?app={APP}"
        events = connect(f"{address}&api_key={self.username}:{self.password}", proxy=None)
        self._listener = threading.Thread(
            target=self._listen, args=(self._listening.enter_context(events),), daemon=True
        )
        self._listener.start()

    def close(self) -> None:
        self._listening.close()
        if self._listener is not None:
            self._listener.join()
        super().close()

    def calls(self, number: str, dialled: str, *, line: str = "pbx", name: str = "") -> "Telephone":
        """The telephone `number` calls `dialled`; from outside with the line `trunk`. Returns at once."""
        made = self.ari(
            "POST",
            "channels",
            endpoint=f"PJSIP/{dialled}@{line}",
            app=APP,
            callerId=f'"{name}" <{number}>' if name else number,
            formats="ulaw",
            timeout="60",
        )
        return Telephone(self, number, str(made["id"]))

    def rung(self, number: str) -> "Telephone":
        """Wait until the telephone `number` rings."""
        found: list[str] = []

        def taken() -> bool:
            found.extend(self._ringing.get(number, ())[:1])
            return bool(found)

        self.wait(taken, f"{number} does not ring")
        with self._changed:
            self._ringing[number].remove(found[0])
        return Telephone(self, number, found[0])

    def wait(self, condition: Callable[[], bool], complaint: str, timeout_s: float = PATIENCE_S) -> None:
        """Until `condition` holds, asked after every event. AssertionError with `complaint` otherwise."""
        with self._changed:
            assert self._changed.wait_for(condition, timeout_s), complaint

    def up(self, channel: str) -> bool:
        return channel in self._up

    def gone(self, channel: str) -> bool:
        return channel in self._gone

    def played(self, playback: str) -> bool:
        return playback in self._played

    def _listen(self, socket: ClientConnection) -> None:
        try:
            for text in socket:
                with self._changed:
                    self._take(json.loads(text))
                    self._changed.notify_all()
        except ConnectionClosed:
            return

    def _take(self, event: dict[str, Any]) -> None:
        match event:
            case {"type": "StasisStart", "args": [number], "channel": {"id": id_}}:
                self._ringing.setdefault(number, []).append(id_)
            case {"type": "StasisStart", "channel": {"id": id_}}:
                self._up.add(id_)
            case {"type": "ChannelStateChange", "channel": {"id": id_, "state": "Up"}}:
                self._up.add(id_)
            case {"type": "ChannelDestroyed" | "StasisEnd", "channel": {"id": id_}}:
                self._gone.add(id_)
            case {"type": "PlaybackFinished", "playback": {"id": id_}}:
                self._played.add(id_)

    def __enter__(self) -> Self:
        self.start()
        return self


@dataclass(frozen=True, slots=True)
class Telephone:
    """One line of a person's telephone, in one call. Every method returns when it is done."""

    all: Telephones
    number: str
    channel: str

    def connected(self) -> Self:
        """Wait until the call is answered."""
        self.all.wait(lambda: self.all.up(self.channel), f"{self.number} is not answered")
        return self

    def answers(self) -> Self:
        self.all.ari("POST", f"channels/{self.channel}/answer")
        return self.connected()

    def says(self, *sentences: int) -> None:
        """Sentences of the code book, by number, to their end."""
        for sentence in sentences:
            media = f"sound:{self.all.places.sub('prompts')}/s{sentence}"
            playback = self.all.ari("POST", f"channels/{self.channel}/play", media=media)["id"]
            self.all.wait(lambda id_=playback: self.all.played(id_), f"{self.number} cannot speak")  # type: ignore[misc]

    def presses(self, keys: str) -> None:
        """Keys of its keypad, each 100 ms long and 100 ms after the one before."""
        self.all.ari("POST", f"channels/{self.channel}/dtmf", dtmf=keys, between="100", duration="100")

    def holds(self) -> None:
        """The hold key: the PBX is told by a re-INVITE that this side only sends."""
        self.all.ari("POST", f"channels/{self.channel}/hold")

    def resumes(self) -> None:
        self.all.ari("DELETE", f"channels/{self.channel}/hold")

    def refers(self, number: str) -> None:
        """The transfer key, without asking the other first: SIP's REFER."""
        self._refers(f"sip:{number}@{self.all.pbx.sip_address}")

    def joins(self, other: Self, asked: str) -> None:
        """The transfer key after asking: `other` is its second call, to `asked`; both are joined (REFER
        with Replaces)."""
        call, to, own = (
            self.all.variable(other.channel, f"CHANNEL(pjsip,{name})") or ""
            for name in ("call-id", "remote_tag", "local_tag")
        )
        replaces = quote(f"{call};to-tag={to};from-tag={own}", safe="")
        self._refers(f"sip:{asked}@{self.all.pbx.sip_address}?Replaces={replaces}")

    def _refers(self, target: str) -> None:
        # No slash may be in it: what is before one is the technology.
        self.all.ari("POST", f"channels/{self.channel}/variable", variable="REFER_TO", value=target)
        self.all.ari(
            "POST", f"channels/{self.channel}/continue", context="refer", extension="s", priority="1"
        )

    def hangs_up(self) -> None:
        self.all.hangup(self.channel)

    def ended(self) -> None:
        """Wait until the call is over for this telephone."""
        self.all.wait(lambda: self.all.gone(self.channel), f"{self.number} is still in its call")
