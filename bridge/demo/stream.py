"""The demonstration's call through FreeSWITCH: an emulated one, followed and heard by the daemon's own parts.

Event socket, switchboard, taps, media server, desks: what `rtzr-bridge run` would open, without its sinks.
"""

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from secrets import token_hex
from typing import Any

from bridge.config import Config
from bridge.credentials import Secrets
from bridge.demo.script import HOST, LEAD_S, PARTIES, Line, Outcome, turns_from
from bridge.emulator.freeswitch.call import Call
from bridge.emulator.freeswitch.knobs import SwitchKnobs
from bridge.emulator.freeswitch.switch import Switch
from bridge.emulator.server import Emulator
from bridge.leg.desk import LocalDesk, LocalDesks
from bridge.types import Event, LegId, Role
from bridge.wire.ledger import Ledger
from bridge.wiring import (
    build_desks,
    build_governor,
    build_rtzr,
    build_switchboard,
    build_tokens,
    open_pbx,
    ports_of,
)

_RINGS_S = 0.3


async def call(rtzr: Emulator, publish: Callable[[Event], None]) -> Outcome:
    """The call, from its first channel to its end. Raises OSError."""
    async with AsyncExitStack() as opened:
        switch = await opened.enter_async_context(a_switch())
        config = configured(rtzr, switch)
        speech = build_rtzr(config, await opened.enter_async_context(build_tokens(config)))
        pbx = await opened.enter_async_context(open_pbx(config))
        heard = _Heard(publish)
        governor = build_governor(config, speech)
        desks = heard.desks = build_desks(config, ports_of(config, 0), governor, speech, heard.take)
        opened.push_async_callback(desks.inlets.close)
        async with asyncio.TaskGroup() as tasks:
            following = tasks.create_task(build_switchboard(config, pbx, desks, heard.take).run())
            await _play(switch, heard)
            following.cancel()
    return heard.outcome()


def a_switch() -> Switch:
    """A FreeSWITCH of this call alone, with a password that nobody else has."""
    return Switch(SwitchKnobs(password=token_hex(16)), HOST)


def configured(rtzr: Emulator, switch: Switch, page_token: str = "", **more: Any) -> Config:
    """As a YAML of this machine's would be, `more` being its other keys, but for the media server's port: any
    that is free."""
    config = Config.model_validate(
        {
            "pbx": "freeswitch",
            "rtzr": {"auth_url": rtzr.auth_url, "stream_url": rtzr.stream_url},
            "freeswitch": {"esl_host": HOST, "esl_port": switch.port},
            "media": {"bind": HOST, "message_ms": 20},
            "gate": {"silence_ms": 300},
            **more,
        }
    )
    media = config.media.model_copy(update={"websocket_port": 0})
    secrets = Secrets(
        rtzr.knobs.client_id,
        rtzr.knobs.client_secret,
        esl_password=switch.knobs.password,
        page_token=page_token,
    )
    return config.model_copy(update={"media": media}).with_secrets(secrets)


class _Heard:
    """What the bridge published, as far as the comparison needs it."""

    def __init__(self, publish: Callable[[Event], None]) -> None:
        self.lines: dict[Role, Line] = {}
        self.desks: LocalDesks | None = None
        self.over = asyncio.Event()
        self._publish = publish
        self._seen: list[LocalDesk] = []
        self._origin_s = 0.0

    def take(self, event: Event) -> None:
        now_s = asyncio.get_running_loop().time()
        match event.type:
            case "rtzr.call.started":
                self._origin_s = now_s - event.data["at_ms"] / 1000
            case "rtzr.leg.started" if self.desks is not None:
                desk = self.desks.find(LegId(event.subject, event.data["channel"]))
                self._seen += [desk] if desk is not None else []
            case "rtzr.transcript.final":
                self.lines[Role(event.data["party"]["role"])].keep(event, self._origin_s, now_s)
            case "rtzr.call.ended":
                self.over.set()
        self._publish(event)

    def outcome(self) -> Outcome:
        total, reasons = Ledger(), list[str]()
        for desk in self._seen:
            total.add(desk.report.ledger)
            reasons += desk.report.reasons
        return Outcome(self.lines, total, reasons)


async def _play(switch: Switch, heard: _Heard) -> None:
    """The two parties, from ring to hang-up, once the bridge follows the switch."""
    await switch.until(lambda: switch.followed)
    call = await dial(switch)
    lines, until_s = speak(switch, call)
    heard.lines.update(lines)
    await asyncio.sleep(until_s - asyncio.get_running_loop().time())
    await call.hang_up()
    await heard.over.wait()


async def dial(switch: Switch) -> Call:
    """A call that was answered, and both of whose parties the bridge hears."""
    before = len(switch.streams)
    caller, callee = PARTIES[Role.CALLER], PARTIES[Role.CALLEE]
    call = switch.call(caller.number, callee.number, name=caller.name)
    await call.ring(announce=True)
    await asyncio.sleep(_RINGS_S)
    await call.answer()
    await switch.until(
        lambda: sum(stream.connections > 0 for stream in switch.streams[before:]) == len(PARTIES)
    )
    return call


def speak(switch: Switch, call: Call) -> tuple[dict[Role, Line], float]:
    """Lay each sentence in its party's mouth; what each says when, and when the call is to end."""
    lines: dict[Role, Line] = {}
    turns, until_s = turns_from(asyncio.get_running_loop().time() + LEAD_S)
    for role, channel in ((Role.CALLER, call.caller), (Role.CALLEE, call.callee)):
        starts_s = [spoken.at_s for spoken in turns[role]]
        ended_s = [switch.say(channel, spoken.pcm, spoken.at_s) for spoken in turns[role]]
        lines[role] = Line(role, starts_s, ended_s)
    return lines, until_s
