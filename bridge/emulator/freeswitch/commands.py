"""The `api` commands of the emulated FreeSWITCH: words in, FreeSWITCH's own answer out.

Answers are those recorded, or of mod_commands' source where no recording has them.
"""

import json
import re
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Protocol

from bridge.emulator.freeswitch.channel import Channel
from bridge.emulator.freeswitch.knobs import Module, SwitchKnobs
from bridge.emulator.freeswitch.stream import StreamOrder

_OK = "+OK Success\n"
_FAILED = "-ERR Operation Failed\n"
_NO_CHANNEL = "-ERR No such channel!\n"
_STREAM_USAGE = (
    "-USAGE: <uuid> [start | stop | send_text | pause | resume | graceful-shutdown ] [wss-url | path] "
    "[mono | mixed | stereo] [8000 | 16000] [metadata]\n"
)
_SHOW_USAGE = "-USAGE: codec|endpoint|application|api|calls [count]|channels [count] [as xml|json]\n"
_URL = re.compile(r"wss?://[A-Za-z0-9.-]+(:\d+)?(/\S*)?")
"""What mod_audio_stream takes: no underscore in the host, no IPv6."""
_MODULES = frozenset(("mod_commands", "mod_dptools", "mod_event_socket", "mod_loopback", "mod_sofia"))
_RATES = {"8k": 8000, "16k": 16_000}
_BUG = "audio_stream"
_FORK_BUG = "audio_fork"


class Switch(Protocol):
    """As much of the switch as commands need."""

    knobs: SwitchKnobs
    channels: dict[str, Channel]
    sessions: int

    def start_stream(self, channel: Channel, order: StreamOrder) -> None: ...

    def stop_stream(self, channel: Channel, bug: str, text: str) -> None: ...

    def kill(self, channel: Channel, cause: str) -> None: ...

    def join(self, one: Channel, other: Channel) -> None: ...

    async def originate(self, uuid: str, variables: dict[str, str], target: str) -> Channel: ...


class Commands:
    """`run` is the whole of it."""

    def __init__(self, switch: Switch) -> None:
        self._switch = switch
        self._known: dict[str, Callable[[str], Awaitable[str]]] = {
            "version": self._version,
            "status": self._status,
            "show": self._show,
            "module_exists": self._module_exists,
            "strepoch": self._strepoch,
            "global_getvar": self._global_getvar,
            "uuid_exists": self._exists,
            "uuid_setvar": self._setvar,
            "uuid_setvar_multi": self._setvars,
            "uuid_getvar": self._getvar,
            "uuid_kill": self._kill,
            "uuid_bridge": self._bridge,
            "originate": self._originate,
        }

    async def run(self, command: str) -> str:
        """Carry out `name arguments` and answer."""
        name, _, rest = command.strip().partition(" ")
        if name == self._switch.knobs.module.command != "":
            return await self._media(rest)
        found = self._known.get(name)
        return await found(rest.strip()) if found else f"-ERR {name} Command not found!\n"

    def _channel(self, uuid: str) -> Channel | None:
        return self._switch.channels.get(uuid)

    async def _version(self, _: str) -> str:
        version = self._switch.knobs.version
        return f"FreeSWITCH Version {version}+git~20240802T210227Z~a88d069d6f~64bit (git a88d069 64bit)\n"

    async def _status(self, _: str) -> str:
        now = len(self._switch.channels)
        return (
            "UP 0 years, 0 days, 0 hours, 1 minute, 20 seconds, 394 milliseconds, 31 microseconds\n"
            f"FreeSWITCH (Version {self._switch.knobs.version} git a88d069 64bit) is ready\n"
            f"{self._switch.sessions} session(s) since startup\n"
            f"{now} session(s) - peak {now}, last 5min {now}\n"
            "0 session(s) per Sec out of max 30, peak 1, last 5min 1\n1000 session(s) max\n"
            "min idle cpu 0.00/98.00\nCurrent Stack Size/Max 240K/8192K\n"
        )

    async def _show(self, rest: str) -> str:
        match rest.split():
            case ["channels", "as", "json"]:
                return _table([channel.row() for channel in self._switch.channels.values()])
            case ["calls", "as", "json"]:
                return _table(self._calls())
            case ["channels", "count"]:
                return f"\n{len(self._switch.channels)} total.\n"
            case ["calls", "count"]:
                return f"\n{len(self._calls())} total.\n"
            case _:
                return _SHOW_USAGE

    def _calls(self) -> list[dict[str, str]]:
        """A row for each bridged pair, and one for each channel that is in none."""
        rows = []
        for channel in self._switch.channels.values():
            if channel.peer is None:
                rows.append(channel.row())
            elif channel.other_type != "originator":
                pair = {f"b_{name}": value for name, value in channel.peer.row().items()}
                rows.append({**channel.row(), **pair})
        return rows

    async def _module_exists(self, rest: str) -> str:
        knobs = self._switch.knobs
        media = {module.file for module in (knobs.module, *knobs.also_loaded)} - {""}
        return "true" if rest in _MODULES or rest in media else "false"

    async def _strepoch(self, _: str) -> str:
        return str(int(time.time()) + self._switch.knobs.ahead_s)

    async def _global_getvar(self, rest: str) -> str:
        """mod_event_socket has words for a command that says nothing."""
        return dict(self._switch.knobs.settings).get(rest) or "-ERR no reply\n"

    async def _exists(self, rest: str) -> str:
        return "true" if self._channel(rest) else "false"

    async def _setvar(self, rest: str) -> str:
        uuid, _, setting = rest.partition(" ")
        name, _, value = setting.partition(" ")
        if not name:
            return "-USAGE: <uuid> <var> [value]\n"
        channel = self._channel(uuid)
        if channel is None:
            return _NO_CHANNEL
        channel.variables.pop(name, None)
        if value:
            channel.variables[name] = value
        return "+OK\n"

    async def _setvars(self, rest: str) -> str:
        uuid, _, settings = rest.partition(" ")
        for setting in filter(None, settings.split(";")):
            said = await self._setvar(f"{uuid} {setting.replace('=', ' ', 1)}")
            if not said.startswith("+OK"):
                return said
        return "+OK\n" if settings else "-USAGE: <uuid> <var>=<value>;<var>=<value>...\n"

    async def _getvar(self, rest: str) -> str:
        uuid, _, name = rest.partition(" ")
        channel = self._channel(uuid)
        return _NO_CHANNEL if channel is None else channel.variables.get(name.strip(), "_undef_")

    async def _kill(self, rest: str) -> str:
        uuid, _, cause = rest.partition(" ")
        channel = self._channel(uuid)
        if channel is None:
            return _NO_CHANNEL
        self._switch.kill(channel, cause.strip() or "NORMAL_CLEARING")
        return "+OK\n"

    async def _bridge(self, rest: str) -> str:
        found = [self._channel(uuid) for uuid in rest.split()[:2]]
        if len(found) < 2 or found[0] is None or found[1] is None:
            return "-ERR Invalid uuid\n"
        self._switch.join(found[0], found[1])
        return f"+OK {found[1].uuid}\n"

    async def _originate(self, rest: str) -> str:
        """Of a loopback channel alone, parked or not; there is nobody else to call."""
        found = re.fullmatch(r"(?:\{(.*?)\})?loopback/(\S+) (&\S+.*|\S+.*)", rest)
        if found is None:
            return "-ERR DESTINATION_OUT_OF_ORDER\n"
        if not self._switch.knobs.loopback:
            return "-ERR CHAN_NOT_IMPLEMENTED\n"
        pairs = (pair.partition("=") for pair in (found[1] or "").split(",") if pair)
        variables = {name: value for name, _, value in pairs}
        uuid = variables.pop("origination_uuid", "")
        return f"+OK {(await self._switch.originate(uuid, variables, found[2])).uuid}\n"

    async def _media(self, rest: str) -> str:
        """`uuid_audio_stream` or `uuid_audio_fork`. Words are parted at spaces, whatever they hold."""
        words = rest.split(" ")
        if len(words) < 2:
            return _STREAM_USAGE
        channel, verb = self._channel(words[0]), words[1]
        if channel is None:
            return _FAILED
        if verb == "start":
            return self._start(channel, rest.split(" ", 2)[2] if len(words) > 2 else "")
        bug, text = self._bug_and_text(words[2:])
        stream = channel.streams.get(bug)
        if stream is None:
            return _FAILED
        match verb:
            case "stop":
                self._switch.stop_stream(channel, bug, text)
            case "pause" | "resume":
                stream.paused = verb == "pause"
            case "send_text" if text:
                await stream.send_text(text)
            case "graceful-shutdown" if self._fork:
                await stream.graceful_shutdown()
            case _:
                return _FAILED
        return _OK

    @property
    def _fork(self) -> bool:
        return self._switch.knobs.module is Module.AUDIO_FORK

    def _bug_and_text(self, words: list[str]) -> tuple[str, str]:
        """mod_audio_fork may be told which bug; the text is one word in both."""
        if not self._fork:
            return _BUG, words[0] if words else ""
        if len(words) > 1:
            return words[0], words[1]
        if words and words[0][:1] not in "{[":
            return words[0], ""
        return _FORK_BUG, words[0] if words else ""

    def _start(self, channel: Channel, rest: str) -> str:
        url, mix, rate_word, extra = [*rest.split(" ", 3), "", "", "", ""][:4]
        if mix not in ("mono", "mixed", "stereo"):
            return "-ERR no reply\n"
        rate = _RATES.get(rate_word or "8k", 0)
        with suppress(ValueError):
            rate = rate or int(rate_word)
        usable = rate > 0 and rate % 8000 == 0 and (self._fork or _URL.fullmatch(url) is not None)
        bug, metadata = self._bug_and_metadata(extra)
        if not usable or self._switch.knobs.refuse_start or bug in channel.streams or channel.cause:
            return _FAILED
        self._switch.start_stream(channel, StreamOrder(url, mix, rate, bug, metadata))
        return _OK

    def _bug_and_metadata(self, rest: str) -> tuple[str, str]:
        """mod_audio_stream's metadata keep spaces; mod_audio_fork takes a name before a word of them."""
        if not self._fork:
            return _BUG, rest
        return self._bug_and_text(rest.split(" ") if rest else [])


def _table(rows: list[dict[str, str]]) -> str:
    table: dict[str, object] = {"row_count": len(rows)}
    if rows:
        table["rows"] = rows
    return json.dumps(table, separators=(",", ":"), ensure_ascii=False)
