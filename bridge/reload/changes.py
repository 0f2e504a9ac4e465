"""What one configuration changes of another, key by key, and the mixture of both that can be had at once.

Pure: values in, values out. No secret is a value of a configuration, so none can be among the changes; which
parts take what is `bridge.reload.parts`' concern.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

from pydantic import ValidationError

from bridge.config import Config, ConfigError
from bridge.config.choosing import Choosing
from bridge.config.webhooks import Webhook
from bridge.credentials import VARIABLES, Secrets
from bridge.wire.wishes import VARIABLE

NEW_CALLS = "new calls"
AT_ONCE = "at once"
RESTART = "needs a restart"

_EFFECTS = {
    "rules": NEW_CALLS,
    "gate": NEW_CALLS,
    "hangup": NEW_CALLS,
    "asterisk.trunk_contexts": NEW_CALLS,
    "freeswitch.trunk_contexts": NEW_CALLS,
    "media.message_ms": NEW_CALLS,
    "media.ring_s": NEW_CALLS,
    "media.early_media": NEW_CALLS,
    "rtzr.preopen": NEW_CALLS,
    "rtzr.model_name": NEW_CALLS,
    "rtzr.domain": NEW_CALLS,
    "rtzr.language": NEW_CALLS,
    "rtzr.use_itn": NEW_CALLS,
    "rtzr.use_disfluency_filter": NEW_CALLS,
    "rtzr.use_profanity_filter": NEW_CALLS,
    "rtzr.use_punctuation": NEW_CALLS,
    "rtzr.keywords": NEW_CALLS,
    "rtzr.epd_time": NEW_CALLS,
    "rtzr.max_utter_duration": NEW_CALLS,
    "rtzr.noise_threshold": NEW_CALLS,
    "rtzr.active_threshold": NEW_CALLS,
    "rtzr.catch_up": NEW_CALLS,
    "rtzr.keepalive_s": NEW_CALLS,
    "rtzr.watchdog_s": NEW_CALLS,
    "rtzr.rotate_s": NEW_CALLS,
    "sinks.redis.rules": NEW_CALLS,
    "overload": NEW_CALLS,
    "quota": AT_ONCE,
    "cost": AT_ONCE,
    "drain_s": AT_ONCE,
    "log": AT_ONCE,
}
"""What a key's change comes to, or that of all keys of a section; of every other key, a restart."""
_OF_WEBHOOKS = {"rules": NEW_CALLS}
"""Of the keys of one webhook."""
_NAMED = ("rules", "sinks.webhooks")
"""Lists whose items have names: they are compared by these, wherever they stand in the list."""


@dataclass(frozen=True, slots=True)
class Change:
    """One key; `old` and `new` as in JSON, None also for a key that was or is not there."""

    key: str
    """Dotted; an item of a list by its name: rules.sales.priority."""
    old: Any
    new: Any
    effect: str

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def compare(old: Config, new: Config) -> list[Change]:
    """Every key that is different, in the order of the YAML."""
    before, after = dict(_keys(_document(old, new))), dict(_keys(_document(new, old)))
    changes = (
        Change(key, before.get(key), after.get(key), _effect(key, new))
        for key in [*before, *(key for key in after if key not in before)]
        if before.get(key) != after.get(key)
    )
    return [*changes, *_secrets(old, new.secrets)]


def _document(config: Config, other: Config) -> dict[str, Any]:
    """As in JSON; of a rule or a webhook that `other` has not, what it says beside the defaults."""
    document = config.model_dump(mode="json")
    document["rules"] = _items(config.rules, other.rules)
    document["sinks"]["webhooks"] = _items(config.sinks.webhooks, other.sinks.webhooks)
    return document


def _items(
    items: Sequence[Choosing] | Sequence[Webhook], others: Sequence[Choosing] | Sequence[Webhook]
) -> list[dict[str, Any]]:
    known = {one.name for one in others}
    return [one.model_dump(mode="json", exclude_defaults=one.name not in known) for one in items]


def taken(old: Config, new: Config) -> Config:
    """What holds once `new` is taken, as far as that can be without a restart; the secrets are new ones.

    Raises ConfigError where what can be taken does not go together with what stays.
    """
    document, given = old.model_dump(mode="json"), new.model_dump(mode="json")
    for key in _EFFECTS:
        *sections, last = key.split(".")
        into, source = document, given
        for section in sections:
            into, source = into[section], source[section]
        into[last] = source[last]
    _take_webhooks(document["sinks"]["webhooks"], given["sinks"]["webhooks"])
    try:
        mixed = Config.model_validate(document)
    except ValidationError as error:
        raise ConfigError([_apart(detail["msg"]) for detail in error.errors(include_url=False)]) from None
    if faults := list(_unfollowed(old, mixed)):
        raise ConfigError(faults)
    return mixed.with_secrets(_merged(old.secrets, new.secrets))


def _take_webhooks(into: Sequence[dict[str, Any]], given: Sequence[Mapping[str, Any]]) -> None:
    known = {webhook["name"]: webhook for webhook in given}
    for webhook in into:
        if (source := known.get(webhook["name"])) is not None:
            webhook.update({key: source[key] for key in _OF_WEBHOOKS})


def _apart(text: str) -> str:
    return f"{text} (beside what needs a restart and therefore stays as it is; restart to have all of it)"


def _unfollowed(old: Config, new: Config) -> Iterator[str]:
    """Variables of channels are told of only where they were asked for when the PBX was connected."""
    followed = {name for rule in old.rules for name in rule.match.variables}
    if old.pause.variable:
        followed.add(VARIABLE)
    for rule in new.rules:
        for name in rule.match.variables:
            told = bool(followed) if new.pbx == "asterisk" else name in followed
            if not told:
                text = "no rule asked for that before, so the PBX does not tell of it; restart to have it"
                yield f"rules.{rule.name}.match.variables.{name}: {text}"


def _merged(old: Secrets, new: Secrets) -> Secrets:
    """What stays as it is until a restart still needs the secrets it had."""
    values = {field.name: getattr(new, field.name) or getattr(old, field.name) for field in fields(Secrets)}
    return Secrets(**{**values, "named": {**old.named, **new.named}})


def _secrets(old: Config, new: Secrets) -> Iterator[Change]:
    """Which of those that are in use are others now; never what they are."""
    before = old.secrets
    variables = {**VARIABLES, "feed_token": old.sinks.feed.token_env, "page_token": old.page.token_env}
    for field, variable in variables.items():
        if getattr(before, field) and getattr(new, field) not in ("", getattr(before, field)):
            yield Change(f"environment.{variable}", None, None, AT_ONCE)
    for variable, value in before.named.items():
        if new.named.get(variable, value) != value:
            signs = variable in old.sinks.keys_of_webhooks
            yield Change(f"environment.{variable}", None, None, AT_ONCE if signs else RESTART)


def effect_of(key: str) -> str:
    """What the change of a key comes to; of an item of a list, by the list's name: `sinks.webhooks.batch`."""
    if key.startswith("sinks.webhooks."):
        return _OF_WEBHOOKS.get(key.rpartition(".")[2], RESTART)
    parts = key.split(".")
    beginnings = (".".join(parts[:end]) for end in range(len(parts), 0, -1))
    return next((_EFFECTS[beginning] for beginning in beginnings if beginning in _EFFECTS), RESTART)


def _effect(key: str, new: Config) -> str:
    if key.startswith("sinks.webhooks."):
        name = key.removeprefix("sinks.webhooks.").rpartition(".")[0]
        if name not in {webhook.name for webhook in new.sinks.webhooks}:
            return RESTART
    return effect_of(key)


def _keys(value: Any, at: str = "") -> Iterator[tuple[str, Any]]:
    """The leaves of a document by their dotted keys; of a list of named things, also their order."""
    if at in _NAMED:
        yield at, [item["name"] for item in value]
        value = {item["name"]: {key: one for key, one in item.items() if key != "name"} for item in value}
    if not isinstance(value, dict):
        yield at, value
        return
    for key, one in value.items():
        yield from _keys(one, f"{at}.{key}" if at else key)
