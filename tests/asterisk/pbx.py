"""A real Asterisk 22 for the tests: started from a private configuration, asked over ARI and CLI, and killed.

Everything here blocks; a test that runs the bridge in its own event loop calls the slow ones (start, stop,
restart, wait_for) through asyncio.to_thread. How Asterisk is configured is in pbx_config.py, how it is
installed in install.py.
"""

import csv
import itertools
import os
import random
import shutil
import signal
import socket
import subprocess
import time
import uuid
import wave
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

from bridge.emulator.codebook import SENTENCES, say
from tests.asterisk import company, pbx_config
from tests.asterisk.install import root_dir

START_S = 20.0
WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
"""Which of the test processes that run side by side this one is, from 0."""
_spawner = ThreadPoolExecutor(max_workers=1)
"""`--pdeathsig` strikes when the thread that started the process ends, so that must be one that stays."""
_serial = itertools.count(1)
_FIRST_TCP = 10_000 + WORKER % 4 * 500
_tcp_ports = itertools.cycle(random.sample(range(_FIRST_TCP, _FIRST_TCP + 500, 4), 125))
"""The three after each are nobody's: a daemon with workers has a port for each, in a row."""
_FIRST_RTP = 12_000 + WORKER % 4 * 5000
_RTP_PORTS = itertools.cycle(random.sample(range(_FIRST_RTP, _FIRST_RTP + 5000, 1000), 5))
"""The first of each PBX's, whichever else runs beside it. They are below the ports that the kernel gives to
whoever asks for any: the PBX has such sockets too, for DNS."""
_number = itertools.count(random.randrange(1000, 8000) * 100)

Script = Sequence[tuple[float, str]]
"""What a phone does once the call is up: (seconds to wait, prompt to play then). "" plays nothing."""

ANNOUNCED = "별표 별표"
"""What every announcement of Asterisk's own says."""

MUSIC = SENTENCES[12]
"""What the music on hold says."""

HANGUP = "HANGUP"
"""As the last prompt of a script: the phone hangs up."""


@dataclass(frozen=True, slots=True)
class Call:
    """A two-party call, by the channels that the PBX's administrator would call its legs."""

    id: str
    """The call's linkedid."""
    number: str
    """The number that was dialled; no other call has it."""
    caller: str
    """Unique id of the caller's leg (what is read on it is the caller's voice)."""
    phone: str
    """Unique id of the far half of the caller's leg, the phone itself: hang it up as the caller would."""


class Asterisk:
    """One Asterisk of a test's own. Several can run at once. Use it as a context manager."""

    username = pbx_config.USERNAME
    password = pbx_config.PASSWORD

    def __init__(self, rtp_ports: int = 999, sip_port: int = 0) -> None:
        self.root = root_dir()
        _sweep(self.root)
        first = next(_RTP_PORTS)
        base = Path("/srv") / f"rtzr-{os.getpid()}-{next(_serial)}"
        self.places = pbx_config.Places(
            base,
            free_tcp_port(),
            free_tcp_port(),
            sip_port or _free_udp_port(),
            first,
            first + rtp_ports - 1,
            free_tcp_port(),
            _free_udp_port(),
        )
        pbx_config.write(self.root, self.places, self._changes())
        self._announcements()
        self._process: subprocess.Popen[bytes] | None = None
        self._http = httpx.Client(
            base_url=f"{self.ari_url}/", auth=(self.username, self.password), timeout=10, trust_env=False
        )

    def _changes(self) -> dict[str, str]:
        """Files of the configuration that are not as usual."""
        return {}

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def ari_url(self) -> str:
        return f"http://127.0.0.1:{self.places.http_port}/ari"

    @property
    def ami_port(self) -> int:
        return self.places.ami_port

    @property
    def sip_address(self) -> str:
        return f"127.0.0.1:{self.places.sip_port}"

    @property
    def pid(self) -> int:
        """Process id, for kill -STOP and the like. AssertionError when it does not run."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Start it and wait until it has booted. It dies with this process, however that ends."""
        conf = str(self.places.sub("etc") / "asterisk.conf")
        command = ["setpriv", "--pdeathsig", "KILL", "chroot", str(self.root), "asterisk", "-f", "-C", conf]
        with (self._outside("log") / "console").open("ab") as console:
            self._process = _spawner.submit(
                subprocess.Popen, command, stdin=subprocess.DEVNULL, stdout=console, stderr=console
            ).result()
        wait_for(self._booted, START_S, lambda: f"Asterisk did not boot:\n{self.log()[-3000:]}")

    def _booted(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, (
            f"Asterisk ended with {self._process.poll()}:\n{self.log()[-3000:]}"
        )
        try:
            return self._http.get("asterisk/ping").status_code == 200
        except httpx.TransportError:
            return False

    def stop(self) -> None:
        """End it politely (SIGTERM), hanging up what is there; by force after five seconds."""
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(5)
            except subprocess.TimeoutExpired:
                self.kill()
            self._process = None

    def kill(self) -> None:
        """End it as a crash would (SIGKILL)."""
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)
            self._process.kill()
            self._process.wait()
            self._process = None

    def restart(self) -> None:
        """A crash and a new start at the same address: every call is gone, the counters begin again."""
        self.kill()
        self.start()

    def close(self) -> None:
        """Kill it and remove its folder."""
        self.kill()
        self._http.close()
        shutil.rmtree(self._outside(""), ignore_errors=True)

    def cli(self, command: str) -> str:
        """The output of a command of Asterisk's console."""
        conf = str(self.places.sub("etc") / "asterisk.conf")
        done = subprocess.run(
            ["chroot", str(self.root), "asterisk", "-C", conf, "-rx", command],
            capture_output=True,
            timeout=10,
            check=True,
        )
        return done.stdout.decode()

    def ari(self, method: str, path: str, *, body: object = None, **query: str) -> Any:
        """One ARI request; the reply's JSON, None when it has no body. Raises httpx.HTTPStatusError."""
        reply = self._http.request(method, path, params=query, json=body)
        reply.raise_for_status()
        return reply.json() if reply.content else None

    def channels(self) -> list[dict[str, Any]]:
        """The live channels as ARI gives them."""
        found: list[dict[str, Any]] = self.ari("GET", "channels")
        return found

    def variable(self, channel: str, name: str) -> str | None:
        """A channel's variable, None where there is none."""
        try:
            value: str = self.ari("GET", f"channels/{channel}/variable", variable=name)["value"]
        except httpx.HTTPStatusError as error:
            if error.response.status_code == 404:
                return None
            raise
        return value

    def cdr_rows(self) -> list[dict[str, str]]:
        """The call records written so far: src, dst, channel, dstchannel, lastapp, disposition, uniqueid."""
        path = self._outside("log") / "cdr-custom" / "Calls.csv"
        if not path.exists():
            return []
        with path.open(newline="", encoding="utf-8") as rows:
            return [dict(zip(pbx_config.CDR_FIELDS, row, strict=True)) for row in csv.reader(rows)]

    def log(self) -> str:
        """What Asterisk wrote into its console and its log file."""
        paths = [self._outside("log") / name for name in ("console", "messages")]
        return "\n".join(
            path.read_text(encoding="utf-8", errors="replace") for path in paths if path.exists()
        )

    def prompt(self, name: str, pcm: bytes) -> str:
        """Make 16-bit mono 8 kHz `pcm` playable as `name`, which it returns; an equal name is replaced."""
        _write_wav(self._outside("prompts") / f"{name}.wav", pcm)
        return name

    def _announcements(self) -> None:
        """Every one is the same two words, which nobody else says: who hears them in a transcript knows."""
        folder = self.root / "usr/share/asterisk/sounds"
        for name in company.ANNOUNCEMENTS:
            path = folder / f"{name}.wav"
            path.parent.mkdir(parents=True, exist_ok=True)
            _write_wav(path, say(ANNOUNCED))
        _write_wav(self._outside("prompts") / "music" / "music.wav", say(MUSIC))

    def two_party_call(
        self,
        caller_script: Script,
        callee_script: Script,
        *,
        ring_s: float = 1.0,
        context: str = "from-phones",
        caller_number: str = "0212345678",
        codec: str = "ulaw",
        prefix: str = "",
    ) -> Call:
        """Start a call: the callee's phone rings `ring_s` seconds and answers, then both play their scripts.

        Neither script hangs up unless it ends with (pause, HANGUP). Returns when the caller's leg exists.
        The caller's leg is Local/...;2 of the first pair, the callee's leg Local/...;1 of the second.
        """
        number = f"{prefix}{next(_number)}"
        phone, caller = f"phone-{uuid.uuid4()}", f"caller-{uuid.uuid4()}"
        variables = {
            "CALLER_SCRIPT": script_text(caller_script),
            "__CALLEE_SCRIPT": script_text(callee_script) or "0:",
            "__RING_S": str(ring_s),
            "CDR_PROP(disable)": "1",
        }
        self.originate(
            f"Local/{number}@{context}/n",
            context="caller-phone",
            channelId=phone,
            otherChannelId=caller,
            formats=codec,
            callerId=caller_number,
            timeout="60",
            variables=variables,
        )
        return Call(phone, number, caller, phone)

    def originate(
        self, endpoint: str, *, context: str, variables: dict[str, str] | None = None, **query: str
    ) -> str:
        """ARI originate into `context`, extension s; returns the channel's id. Always give `formats`."""
        query = {"endpoint": endpoint, "context": context, "extension": "s", "priority": "1", **query}
        made = self.ari("POST", "channels", body={"variables": variables or {}}, **query)
        return str(made["id"])

    def answers_at(self, number: str, script: Script, ring_s: float = 1.0) -> None:
        """What the phone of `number` does when it is called by other ways than two_party_call (SIP)."""
        self.ari("POST", "asterisk/variable", variable=f"SCRIPT_{number}", value=script_text(script) or "0:")
        self.ari("POST", "asterisk/variable", variable=f"RING_{number}", value=str(ring_s))

    def hangup(self, channel: str) -> None:
        """Hang up a channel; not an error when it is gone already."""
        try:
            self.ari("DELETE", f"channels/{channel}")
        except httpx.HTTPStatusError as error:
            if error.response.status_code != 404:
                raise

    def hangup_all(self) -> None:
        """Hang up everything and wait until nothing is left."""
        for channel in self.channels():
            self.hangup(channel["id"])
        wait_for(
            lambda: not self.channels(), 5, lambda: f"channels left: {[c['name'] for c in self.channels()]}"
        )

    def _outside(self, name: str) -> Path:
        return self.root / self.places.sub(name).relative_to("/")


def _write_wav(path: Path, pcm: bytes) -> None:
    """Atomically, for another test run may read the same announcement."""
    half = path.with_name(f"{path.name}.{uuid.uuid4()}")
    with wave.open(str(half), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(pcm)
    half.replace(path)


def script_text(script: Script) -> str:
    """A script as the test dialplan reads it: pause:prompt^pause:prompt."""
    return "^".join(f"{pause:g}:{prompt}" for pause, prompt in script)


def wait_for(condition: Callable[[], bool], timeout_s: float, complaint: Callable[[], str]) -> None:
    """Ask `condition` until it holds; AssertionError with `complaint` when it does not within `timeout_s`."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, complaint()
        time.sleep(0.02)


def free_tcp_port() -> int:
    """For a server that starts soon. The kernel gives it to nobody meanwhile, nor does a worker beside us."""
    for port in itertools.islice(_tcp_ports, 125):
        with socket.socket() as probe, suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as servers do
            probe.bind(("127.0.0.1", port))
            return port
    raise AssertionError("every port is taken")


def _free_udp_port() -> int:
    with socket.socket(type=socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _sweep(root: Path) -> None:
    """Remove the folders of instances whose test run was killed."""
    for folder in root.glob("srv/rtzr-*"):
        if not Path(f"/proc/{folder.name.split('-')[1]}").exists():
            shutil.rmtree(folder, ignore_errors=True)
