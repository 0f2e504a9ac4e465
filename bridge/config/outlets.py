"""Where events go, as rules between sections: what a rule's `sinks` names must be on and lead somewhere, what
endpoints ask for must come to them, and no two things may be kept at one path.

The sections themselves are in `sinks`, `choosing` and `sections`.
"""

import os
from collections.abc import Collection, Iterator, Mapping, Sequence

from bridge.config.choosing import Choosing
from bridge.config.faults import Rule
from bridge.config.sections import Admin, Outbox, Spool
from bridge.config.sinks import Sinks

_MENDS_OF_SINKS = {
    "console": ("sinks.console.enabled",),
    "jsonl": ("sinks.jsonl.path",),
    "pbx": ("sinks.pbx.user_event", "sinks.pbx.variable"),
    "outbox": ("outbox.path",),
    "feed": ("sinks.feed.port", "page.port"),
}
"""Which keys turn a sink on."""
_BESIDE = {
    "outbox.path": ("", "-wal", "-shm", "-journal", "-reserve", ".damaged", ".damaged-wal"),
    "admin.socket": ("", ".lock"),
}
"""What is kept at a path, and at which paths beside it."""


def named_sinks(number: int, rule: Choosing, sinks: Sinks, on: Collection[str]) -> Iterator[Rule]:
    """Of the rule of that number: each sink that it names is on, and what goes there arrives somewhere."""
    for sink in rule.sinks or ():
        mends = _MENDS_OF_SINKS[sink]
        text = f"names {sink}, which is off; set {' or '.join(mends)}, or leave it out here"
        yield Rule(sink in on, (f"rules.{number}.sinks", *mends), text)
    if "outbox" in (rule.sinks or ()) and "outbox" in on:
        yield Rule(
            _is_read(rule, sinks),
            (f"rules.{number}.sinks", "sinks.webhooks", "sinks.redis.url", "sinks.feed.port"),
            "names outbox, out of which nobody takes this rule's calls; give a webhook, Redis or the feed "
            "(and name it here), with this rule among their rules:, or leave it out here",
        )


def _is_read(rule: Choosing, sinks: Sinks) -> bool:
    """Whether anybody takes the calls of `rule` out of the outbox."""
    asked = [webhook.rules for webhook in sinks.webhooks]
    asked += [sinks.redis.rules] if sinks.redis.url is not None else []
    shown = sinks.feed.port != 0 and "feed" in (rule.sinks or ())
    return shown or any(rules is None or rule.name in rules for rules in asked)


def endpoints(outbox: Outbox, sinks: Sinks, rules: Sequence[Choosing]) -> Iterator[Rule]:
    """Of webhooks and Redis: there is an outbox, and each rule whose calls they ask for brings some."""
    redis, missing = sinks.redis, "is missing: events wait there until {} them; give a file on a local disk, "
    missing += "such as /var/lib/rtzr-bridge/outbox.db"
    there = outbox.path is not None
    webhooks = missing.format("the webhooks have")
    yield Rule(there or not sinks.webhooks, ("outbox.path", "sinks.webhooks"), webhooks)
    for number, webhook in enumerate(sinks.webhooks):
        yield from _asked(f"sinks.webhooks.{number}.rules", webhook.rules, rules)
    yield Rule(there or redis.url is None, ("outbox.path", "sinks.redis.url"), missing.format("Redis has"))
    yield from _asked("sinks.redis.rules", redis.rules, rules)


def _asked(key: str, asked: Sequence[str] | None, rules: Sequence[Choosing]) -> Iterator[Rule]:
    known = {rule.name for rule in rules}
    yield Rule(
        known.issuperset(asked or ()),
        (key, "rules"),
        "names a rule that is not there; name those under rules:, or leave it out for every call",
    )
    for number, rule in enumerate(rules):
        yield Rule(
            rule.name not in (asked or ()) or rule.sinks is None or "outbox" in rule.sinks,
            (key, f"rules.{number}.sinks"),
            "names a rule whose sinks leave out the outbox, so nothing would come; name outbox there, or "
            "leave the rule out here",
        )


def apart(
    outbox: Outbox, sinks: Sinks, spool: Spool, admin: Admin, read: Mapping[str, str | None]
) -> Iterator[Rule]:
    """No file, folder or socket is meant for two things. `read`: files that are only read, by their keys."""
    older = [f".{number}" for number in range(1, sinks.jsonl.keep + 1)] if sinks.jsonl.max_mb else []
    paths = {
        **read,
        "spool.folder": spool.folder,
        "sinks.jsonl.path": sinks.jsonl.path,
        "admin.socket": admin.socket,
        "outbox.path": outbox.path,
    }
    beside = {**_BESIDE, "sinks.jsonl.path": ("", *older)}
    taken: dict[str, str] = {}
    for key, path in paths.items():
        if path is None:
            continue
        mine = {os.path.realpath(path) + suffix for suffix in beside.get(key, ("",))}
        for other in sorted({taken[one] for one in mine & taken.keys()}):
            text = f"is where {other} is, or what is kept beside it; give another"
            yield Rule(key in read, (key, other), text)
        taken.update(dict.fromkeys(mine, key))
