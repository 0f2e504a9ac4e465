"""Which calls are paused: the one place where a pause begins and ends.

While a call is paused, nothing that is said in it leaves this host or is kept. That is done where its legs
are heard, by `Desks.pause`; here is decided for which calls, and the PBX is told, so that neither a lost
connection nor a restart of the bridge ends a pause: each channel's variable says how its call stands.
"""

from collections.abc import Callable, Collection, Coroutine, Mapping

import structlog

from bridge import events
from bridge.calls.live import Call, Live
from bridge.leg.desk import Desks
from bridge.pbx import Pbx
from bridge.types import CallId, Event
from bridge.wire import pbxevents as wire
from bridge.wire.wishes import VARIABLE, By, Wishes, WishWays, paused_by

_log = structlog.get_logger()


class Pauses:
    def __init__(
        self,
        pbx: Pbx,
        desks: Desks,
        ways: WishWays,
        consent: Collection[str],
        publish: Callable[[Event], None],
        send: Callable[[Coroutine[None, None, None]], object],
    ) -> None:
        """`consent`: the rules whose calls begin paused. `send` runs an errand beside the events."""
        self._pbx = pbx
        self._desks = desks
        self._wishes = Wishes(ways)
        self._consent = consent
        self._publish = publish
        self._send = send
        self.calls: dict[CallId, Call] = {}
        """Those that live, by id."""
        self.live: dict[str, Live] = {}
        """Their legs, by channel."""
        self.compared = False
        """Whether the PBX has said, once, what is paused: before that, nobody knows it after a restart."""
        self._writing: set[str] = set()
        """Channels whose variable is being set ..."""
        self._unwritten: set[str] = set()
        """... or could not be."""

    def adopt(self, consent: Collection[str]) -> None:
        """Other rules, for calls that begin from now on."""
        self._consent = consent

    def paused(self) -> frozenset[CallId]:
        """Calls of which no audio is to leave now."""
        return frozenset(call.id for call in self.calls.values() if call.paused)

    def order(self, call: CallId, paused: bool, by: By = By.COMMAND, who: str = "") -> bool:
        """Pause a call or resume it; whether there is such a call. One that is so already stays so. `who`: as
        of `events.call_paused`."""
        found = self.calls.get(call)
        if found is None:
            return False
        if found.paused is not paused:
            found.paused = paused
            self._desks.pause(call, paused)
            self._tell(found, by, who)
            for channel, live in self.live.items():
                if live.leg.call == call and live.cause is None:
                    self._mark(channel, paused)
        return True

    def _tell(self, call: Call, by: By, who: str) -> None:
        """Who it was stands in the log and in the event: somebody may have to answer for it."""
        _log.info("call paused" if call.paused else "call resumed", call=call.id, by=by.value, who=who)
        told = events.call_paused if call.paused else events.call_resumed
        self._publish(told(call.id, call.now_ms(), by.value, who))

    # Calls and legs that begin.

    def begins(self, call: Call, channel: str) -> None:
        """A call begins with this channel: perhaps paused. It was told that it has."""
        wished = self._wishes.of(channel)
        call.paused = call.rule in self._consent if wished is None else wished
        if call.paused:
            consent = By.CONSENT, f"rule {call.rule}"
            self._tell(call, *(consent if wished is None else (By.VARIABLE, f"channel {channel}")))

    def joins(self, live: Live) -> None:
        """A leg begins: it is paused with its call, or its call with it."""
        channel, call = live.leg.channel, live.leg.call
        if wished := self._wishes.of(channel):
            self.order(call, True, By.VARIABLE, f"channel {channel}")
        if wished is not None or self.calls[call].paused:
            self._mark(channel, self.calls[call].paused)

    # What the PBX says, and is told.

    def take(self, event: wire.PbxEvent) -> None:
        """As it came from the PBX."""
        wish = self._wishes.take(event)
        if wish is not None:
            live = self.live.get(wish.channel)  # a call's first channel need not be a leg
            id_ = wish.channel if live is None else live.leg.call
            self.order(id_, self._meant(id_, wish.paused), wish.by, f"channel {wish.channel}")

    def _meant(self, id_: CallId, paused: bool | None) -> bool:
        """Where nothing is wished any more, a call is as it began by its rule."""
        call = self.calls.get(id_)
        return (call is not None and call.rule in self._consent) if paused is None else paused

    def asked(self) -> int:
        """The PBX is being asked for everything; what is for `found`."""
        return self._wishes.noted

    def found(self, values: Mapping[str, str], channels: Collection[str], asked: int) -> None:
        """The PBX's answer: the variable's `values` by channel, and all `channels` that live. What was set
        while it could not be heard holds, unless something was wished since; what could not be told is told
        now."""
        self._wishes.keep(channels, asked)
        self.compared = True
        unwritten, self._unwritten = self._unwritten & self.live.keys(), set()
        for channel in unwritten:
            self._mark(channel, self.calls[self.live[channel].leg.call].paused)
        for channel, value in values.items():
            paused = paused_by(value)
            if channel in unwritten or self._wishes.newer(channel, asked):
                continue
            if self._wishes.of(channel) is paused:
                continue
            self._wishes.note(channel, paused)
            if (live := self.live.get(channel)) is not None:
                id_ = live.leg.call
                self.order(id_, self._meant(id_, paused), By.VARIABLE, f"channel {channel}")

    def _mark(self, channel: str, paused: bool) -> None:
        self._wishes.note(channel, paused)
        if channel not in self._writing:  # whoever writes looks again
            self._writing.add(channel)
            self._send(self._write(channel))

    async def _write(self, channel: str) -> None:
        """Until the PBX has what was wished last: two requests could change places."""
        self._unwritten.add(channel)
        written: bool | None = None
        try:
            while (paused := self._wishes.of(channel)) is not written and paused is not None:
                await self._pbx.set_variable(channel, VARIABLE, "1" if paused else "0")
                written = paused
            self._unwritten.discard(channel)
        except wire.Gone:
            self._unwritten.discard(channel)
        finally:
            self._writing.discard(channel)
