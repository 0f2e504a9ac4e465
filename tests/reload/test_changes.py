"""bridge/reload/changes.py: what is different, what of it is had without a restart, and what does not fit."""

from typing import Any

import pytest

from bridge.config import Config, ConfigError
from bridge.credentials import Secrets
from bridge.reload.changes import _EFFECTS, AT_ONCE, NEW_CALLS, RESTART, Change, compare, taken

SECRET = "whsec_" + "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
NAMED = {"A": SECRET, "B": SECRET}


def config(secrets: Secrets | None = None, **given: Any) -> Config:
    return Config.model_validate(given).with_secrets(secrets or Secrets("id", "secret", named=NAMED))


def effects(old: Config, new: Config) -> dict[str, str]:
    return {change.key: change.effect for change in compare(old, new)}


def hook(name: str, **given: Any) -> dict[str, Any]:
    return {"name": name, "url": f"https://{name}.example", "secret_env": ["A"], **given}


def with_hooks(*hooks: dict[str, Any], **given: Any) -> Config:
    return config(outbox={"path": "/var/lib/x/o.db"}, sinks={"webhooks": list(hooks)}, **given)


def test_the_same_twice_is_no_change() -> None:
    assert compare(config(), config()) == []
    assert compare(with_hooks(hook("crm")), with_hooks(hook("crm"))) == []
    assert taken(config(), config()) == config()


@pytest.mark.parametrize("key", _EFFECTS)
def test_every_key_that_is_taken_is_one(key: str) -> None:
    value: Any = Config().model_dump(mode="json")
    for part in key.split("."):
        value = value[part]


def test_what_is_taken_is_told_apart_from_what_needs_a_restart() -> None:
    old = config(media={"first_port": 40100})
    new = config(
        media={"first_port": 40200, "message_ms": 60},
        gate={"mode": "vad"},
        rtzr={"stream_url": "wss://other.example", "keywords": ["가입"]},
        asterisk={"via": "ami", "trunk_contexts": ["outside"]},
        quota={"max_sessions": 7},
        drain_s=3,
        log={"level": "debug"},
        admin={"socket": "/run/x/admin.sock"},
        metrics={"port": 9100},
        page={"port": 8091},
        pause={"dtmf": "*7"},
        rules=[{"name": "sales", "consent": "required"}],
        workers=4,
    )
    of_the_rule = [key for key in effects(old, new) if key.startswith("rules.sales.")]
    assert "rules.sales.consent" in of_the_rule
    assert effects(old, new) == {
        "rtzr.stream_url": RESTART,
        "rtzr.keywords": NEW_CALLS,
        "asterisk.via": RESTART,
        "asterisk.trunk_contexts": NEW_CALLS,
        "media.first_port": RESTART,
        "media.message_ms": NEW_CALLS,
        "gate.mode": NEW_CALLS,
        "quota.max_sessions": AT_ONCE,
        "workers": RESTART,
        "drain_s": AT_ONCE,
        "admin.socket": RESTART,
        "log.level": AT_ONCE,
        "metrics.port": RESTART,
        "page.port": RESTART,
        "pause.dtmf": RESTART,
        "rules": NEW_CALLS,
        **dict.fromkeys(of_the_rule, NEW_CALLS),
    }
    mixed = taken(old, new)
    assert {change.key for change in compare(mixed, new)} == {
        change.key for change in compare(old, new) if change.effect == RESTART
    }
    assert (mixed.media.first_port, mixed.media.message_ms, mixed.gate.mode) == (40100, 60, "vad")


def test_rules_are_compared_by_their_names_and_their_order_counts() -> None:
    one, two = {"name": "one", "priority": 1}, {"name": "two", "match": {"caller": "010*"}}
    assert [c.key for c in compare(config(rules=[one, two]), config(rules=[two, one]))] == ["rules"]
    changes = compare(config(rules=[one]), config(rules=[{**one, "priority": 5}, two]))
    assert Change("rules.one.priority", 1, 5, NEW_CALLS) in changes
    assert Change("rules.two.match.caller", None, ["010*"], NEW_CALLS) in changes
    assert {change.effect for change in changes} == {NEW_CALLS}
    assert [rule.name for rule in taken(config(rules=[one]), config(rules=[two])).rules] == ["two"]


def test_a_webhooks_rules_are_taken_and_nothing_else_of_it() -> None:
    rules = [{"name": "sales"}]
    old = with_hooks(hook("crm"), hook("old"), rules=rules)
    new = with_hooks(hook("new"), hook("crm", rules=["sales"], batch=7), rules=rules)
    found = effects(old, new)
    assert found["sinks.webhooks.crm.rules"] == NEW_CALLS
    assert found["sinks.webhooks.crm.batch"] == RESTART
    assert found["sinks.webhooks.new.url"] == found["sinks.webhooks.old.url"] == RESTART
    crm, other = taken(old, new).sinks.webhooks
    assert (crm.name, crm.rules, crm.batch, other.name) == ("crm", ("sales",), 100, "old")


def test_what_does_not_go_with_what_stays_is_a_fault() -> None:
    new = config(rules=[{"name": "all", "sinks": ["jsonl"]}], sinks={"jsonl": {"path": "/tmp/x.jsonl"}})
    with pytest.raises(ConfigError) as error:
        taken(config(), new)
    (line,) = error.value.lines
    assert "names jsonl, which is off" in line
    assert "restart to have all of it" in line


@pytest.mark.parametrize("pbx", ["asterisk", "freeswitch"])
def test_variables_that_the_pbx_does_not_tell_of_are_a_fault(pbx: str) -> None:
    def asking(*names: str) -> Config:
        rules = [{"name": f"r{name}", "match": {"variables": {name: "x"}}} for name in names]
        return config(pbx=pbx, rules=rules)

    with pytest.raises(ConfigError, match=r"rules\.rTENANT\.match\.variables\.TENANT: .*restart"):
        taken(asking(), asking("TENANT"))
    assert len(taken(asking("TENANT"), asking("TENANT")).rules) == 1
    assert taken(asking("TENANT"), asking()).rules == ()
    if pbx == "asterisk":  # which tells of all or none
        noting = config(pause={"variable": True})
        assert (
            len(
                taken(noting, config(rules=asking("T").model_dump()["rules"], pause={"variable": True})).rules
            )
            == 1
        )
        assert len(taken(asking("TENANT"), asking("OTHER")).rules) == 1


def test_secrets_are_named_and_never_shown() -> None:
    former = Secrets("id", "old-secret", ari_password="old-pw", named={"A": "old-a", "R": "old-r"})
    latter = Secrets("id", "new-secret", ami_secret="new-pw", named={"A": "new-a", "R": "new-r"})
    old, new = (with_hooks(hook("crm")).with_secrets(secrets) for secrets in (former, latter))
    changes = compare(old, new)
    assert {change.key: change.effect for change in changes} == {
        "environment.RTZR_CLIENT_SECRET": AT_ONCE,
        "environment.A": AT_ONCE,
        "environment.R": RESTART,
    }
    assert all((change.old, change.new) == (None, None) for change in changes)
    page = config(Secrets(page_token="old-page-token-16"), page={"port": 8091})
    other = page.with_secrets(Secrets(page_token="new-page-token-16"))
    assert effects(page, other) == {"environment.RTZR_PAGE_TOKEN": AT_ONCE}
    secrets = taken(old, new).secrets
    assert (secrets.client_secret, secrets.ari_password, secrets.named["A"]) == (
        "new-secret",
        "old-pw",
        "new-a",
    )


def test_of_a_rule_that_comes_or_goes_only_what_it_says_is_told() -> None:
    sales = config(rules=[{"name": "sales", "priority": 3, "gate": {"mode": "vad"}}])
    told = {"rules", "rules.sales.priority", "rules.sales.gate.mode"}
    assert effects(config(), sales).keys() == told
    assert effects(sales, config()).keys() == told
    plain = config(rules=[{"name": "sales"}])
    assert effects(sales, plain).keys() == told - {"rules"}, "back to a default is a change"
    assert effects(with_hooks(), with_hooks(hook("crm"))).keys() == {
        "sinks.webhooks",
        "sinks.webhooks.crm.url",
        "sinks.webhooks.crm.secret_env",
    }
