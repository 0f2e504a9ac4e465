"""One token for 500 sessions: an auth request for each expiry, and no session opened with an expired token.

Three waves of sessions: at once with no token yet; about the moment at which the token is renewed; and at
once after the first token's end. `Tokens` uses what it was given for a minute at least, so this takes more.
"""

import asyncio
import time
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass

from bench.far import Far
from bench.outcome import Advance, Outcome
from bench.telephone import CODEC
from bridge.emulator.server import Knobs
from bridge.net.rtzr import Rtzr, Tokens
from bridge.types import Token
from bridge.wire.rtzr import Refused, Unreachable

SESSIONS = 500
LIFE_S, RENEW_BEFORE_S = 67.0, 5.0
KNOBS = Knobs(auth_delay_ms=120, connect_delay_ms=80, token_life_s=LIFE_S)
"""Renewed 61 to 62 s after it was issued: RTZR tells the end in whole seconds."""
_ABOUT_S = 2.0
"""The middle wave's sessions are opened evenly over this, the renewal in its middle."""
_PATIENCE_S = 30.0
"""A dial waits for the hundreds before it."""


class Watched(Tokens):
    """Counts what the benchmark is about, where it happens."""

    refused = 0
    """Sessions that RTZR did not let in with their token (401)."""
    expired = 0
    """Tokens that were given out after their end."""

    async def get(self, refused: Token | None = None) -> Token:
        self.refused += refused is not None
        token = await super().get(refused)
        self.expired += not token.usable(time.time(), 0)
        return token


@dataclass(frozen=True, slots=True)
class Wave:
    """What came of the sessions that were opened together."""

    when: str
    opened: int
    failed: int
    auth_requests: int
    refused: int
    expired: int
    took_ms: int


async def run(advance: Advance, sessions: int = SESSIONS) -> Outcome:
    """The whole benchmark; `advance` is told of each session, of which there are three times as many."""
    async with AsyncExitStack() as opened:
        far = await opened.enter_async_context(Far(KNOBS))
        tokens = await opened.enter_async_context(
            Watched(
                far.auth_url,
                KNOBS.client_id,
                KNOBS.client_secret,
                renew_before_s=RENEW_BEFORE_S,
                timeout_s=_PATIENCE_S,
            )
        )
        bench = _Bench(far, tokens, Rtzr(tokens, far.stream_url, {}, timeout_s=_PATIENCE_S), advance)
        waves = [await bench.wave("no token yet", _at_once(sessions))]
        first = await tokens.get()
        await _until(first.expires_at - RENEW_BEFORE_S - _ABOUT_S / 2)
        waves.append(await bench.wave("about the renewal", _evenly(sessions)))
        await _until(first.expires_at + 1)
        waves.append(await bench.wave("first token expired", _at_once(sessions)))
    return outcome(waves)


def _at_once(sessions: int) -> Iterator[float]:
    return (0.0 for _ in range(sessions))


def _evenly(sessions: int) -> Iterator[float]:
    return (_ABOUT_S * number / sessions for number in range(sessions))


async def _until(unix_s: float) -> None:
    await asyncio.sleep(max(0.0, unix_s - time.time()))


@dataclass(frozen=True, slots=True)
class _Bench:
    far: Far
    tokens: Watched
    speech: Rtzr
    advance: Advance

    async def wave(self, when: str, starts_s: Iterator[float]) -> Wave:
        """Open a session after each of `starts_s`, hold all until the last is open, then close them."""
        loop = asyncio.get_running_loop()
        before = (await self._issued(), self.tokens.refused, self.tokens.expired)
        begun_s = loop.time()
        async with AsyncExitStack() as held:
            tries = await asyncio.gather(*(self._open(held, after_s) for after_s in starts_s))
            took_ms = round((loop.time() - begun_s) * 1000)
        return Wave(
            when,
            opened=sum(tries),
            failed=len(tries) - sum(tries),
            auth_requests=await self._issued() - before[0],
            refused=self.tokens.refused - before[1],
            expired=self.tokens.expired - before[2],
            took_ms=took_ms,
        )

    async def _open(self, held: AsyncExitStack, after_s: float) -> bool:
        await asyncio.sleep(after_s)
        try:
            session = await self.speech.open(CODEC)
        except (Refused, Unreachable):
            return False
        finally:
            self.advance(1)
        held.push_async_callback(session.close)
        return True

    async def _issued(self) -> int:
        """Auth requests that the emulator has answered with a token."""
        return int((await self.far.ask("stats"))["tokens_issued"])


def outcome(waves: Sequence[Wave]) -> Outcome:
    """The first wave has the first token to ask for, the second its renewal, the third nothing."""
    wanted = (1, 1, 0)
    expiries = sum(wanted) - 1
    data = {
        "sessions_at_once": max(wave.opened + wave.failed for wave in waves),
        "expiries": expiries,
        "auth_requests": sum(wave.auth_requests for wave in waves),
        "opened_with_expired_token": sum(wave.refused + wave.expired for wave in waves),
        "failed": sum(wave.failed for wave in waves),
        "waves": [asdict(wave) for wave in waves],
    }
    missed = [
        line
        for wave, requests in zip(waves, wanted, strict=True)
        for line in _missed(wave, requests)
    ]  # fmt: skip
    rows = [
        [
            wave.when,
            *(str(n) for n in (wave.opened, wave.auth_requests, wave.refused, wave.expired, wave.took_ms)),
        ]
        for wave in waves
    ]
    columns = ("wave", "opened", "auth requests", "refused 401", "expired", "ms")
    return Outcome(data, columns, rows, (f"A token lived {LIFE_S:.0f} s; {expiries} expiry.",), missed)


def _missed(wave: Wave, requests: int) -> Iterator[str]:
    if wave.auth_requests != requests:
        yield f"{wave.when}: {wave.auth_requests} auth requests, wanted {requests}"
    if wave.refused + wave.expired:
        yield f"{wave.when}: {wave.refused + wave.expired} sessions were opened with an expired token"
    if wave.failed:
        yield f"{wave.when}: {wave.failed} sessions could not be opened"
