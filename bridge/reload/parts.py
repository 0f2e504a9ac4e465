"""The parts of the daemon that take another configuration while they run: each makes ready, then takes.

What each part does with it is its own `adopt`. What of a configuration reaches here at all is
`bridge.reload.changes`' decision: nothing that needs a restart is different.
"""

from collections.abc import Awaitable, Callable
from functools import partial

from bridge import logs
from bridge.calls.switchboard import Switchboard
from bridge.config import Config, ConfigError
from bridge.leg.desk import LocalDesks
from bridge.net.ami import Ami
from bridge.net.ari import Ari
from bridge.net.freeswitch import FreeSwitch
from bridge.net.rtzr import Session, Tokens
from bridge.pbx import Pbx
from bridge.quota import Governor
from bridge.sinks.fanout import FanOut
from bridge.wiring import desk_settings, quota_settings, switchboard_settings
from bridge.workers.workers import Workers

Take = Callable[[], None]
"""Never waits, and is not expected to fail."""


class Parts:
    """Those that were added, in that order."""

    def __init__(self) -> None:
        self._near: list[Callable[[Config], Take]] = [_log]
        self._far: list[Callable[[Config], Awaitable[Take]]] = []

    def add(self, make: Callable[[Config], Take]) -> None:
        """`make`: all that can fail."""
        self._near.append(make)

    def add_far(self, make: Callable[[Config], Awaitable[Take]]) -> None:
        """One that has to be asked."""
        self._far.append(make)

    async def ready(self, config: Config) -> list[Take]:
        """What makes all parts take `config`. Raises ConfigError where one of them cannot."""
        try:
            return [make(config) for make in self._near] + [await make(config) for make in self._far]
        except ConfigError:
            raise
        except TimeoutError:
            fault = "a worker does not answer; reload again once it does, or was put back"
            raise ConfigError([fault]) from None
        except Exception as error:
            fault = f"a part of the daemon cannot take it ({type(error).__name__}); restart to have it"
            raise ConfigError([fault]) from None


def _log(config: Config) -> Take:
    return partial(logs.change, config.log.level, config.log.format)


def add_core(
    parts: Parts,
    tokens: Tokens,
    governor: Governor[Session],
    fanout: FanOut,
    desks: LocalDesks | Workers,
    switchboard: Switchboard,
    pbx: Pbx,
) -> None:
    """What every daemon has."""
    parts.add(lambda config: partial(tokens.adopt, config.secrets.client_id, config.secrets.client_secret))
    parts.add(lambda config: partial(governor.adopt, quota_settings(config)))
    parts.add(lambda config: partial(fanout.adopt, config.sinks_of_rules))
    parts.add(lambda config: partial(switchboard.adopt, switchboard_settings(config)))
    parts.add(partial(_pbx, pbx))
    if isinstance(desks, LocalDesks):
        parts.add(lambda config: partial(desks.adopt, desk_settings(config), config.overload.full_at))
    else:
        parts.add_far(desks.weigh)


def _pbx(pbx: Pbx, config: Config) -> Take:
    secrets = config.secrets
    match pbx:
        case Ari():
            return partial(pbx.adopt, secrets.ari_password)
        case Ami():
            return partial(pbx.adopt, secrets.ami_secret)
        case FreeSwitch():
            return partial(pbx.adopt, secrets.esl_password)
    return lambda: None
