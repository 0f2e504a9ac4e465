"""What the parts do with another configuration: calls that are live keep what they began with."""

import io
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
import structlog

from bridge import logs
from bridge.config import Config
from bridge.credentials import Secrets
from bridge.delivery.endpoints import build_webhooks
from bridge.emulator.server import Emulator, Knobs
from bridge.leg.desk import LocalDesks
from bridge.net.ami import Ami
from bridge.net.ari import Ari
from bridge.net.rtzr import Rtzr, Tokens
from bridge.page.app import Page
from bridge.page.door import Door
from bridge.reload.outlets import page_part, webhooks_part
from bridge.sinks.fanout import FanOut
from bridge.sinks.feed import FeedSink
from bridge.types import LegId, NewLeg, Party, Role
from bridge.wire.channels import OnFull
from bridge.wire.quota import Quota, QuotaSettings
from bridge.wire.rtzr import Refused
from bridge.wire.rules import CallRule
from bridge.wire.selection import Selection
from bridge.wiring import build_desks, desk_settings, ports_of, stream_options
from tests.calls.test_switchboard import running
from tests.outboxes import A, event, ids, opened, started
from tests.page import fake
from tests.sinks.test_fanout import _Sink
from tests.wire.channels import channel
from tests.wire.test_selection import rule

KEY, OTHER = "whsec_" + "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_" + "C2FVsBQIhrscChlQIMV+b5sSYspob7oD"


def config(**given: object) -> Config:
    return Config.model_validate(given)


@pytest.fixture
async def desks() -> AsyncIterator[LocalDesks]:
    tokens = Tokens("http://127.0.0.1:9", "id", "secret", renew_before_s=600, timeout_s=1)
    rtzr = Rtzr(tokens, "ws://127.0.0.1:9", {}, timeout_s=1)
    made = build_desks(config(), ports_of(config(), 0), None, rtzr, lambda _event: None)  # type: ignore[arg-type]
    async with tokens:
        yield made
    await made.inlets.close()


def leg(call: str, role: Role, rule: str = "") -> NewLeg:
    return NewLeg(LegId(call, role), Party(role), time.monotonic(), rule=rule)


async def test_a_later_leg_of_a_live_call_is_heard_as_its_first_one(desks: LocalDesks) -> None:
    first = desks.place(leg("old", Role.CALLER))
    changed = config(gate={"mode": "vad"}, rtzr={"keywords": ["가입"]}, rules=[{"name": "r", "priority": 7}])
    desks.adopt(desk_settings(changed), 0.5)
    second, other = desks.place(leg("old", Role.CALLEE)), desks.place(leg("new", Role.CALLER))
    assert second.settings is first.settings
    assert other.settings.legs.gate.mode == "vad"
    assert other.settings.legs.options == stream_options(changed)
    assert other.settings.of("r").priority == 7
    assert second.settings.legs.options == stream_options(config()), "RTZR's options too are the call's"
    for role in Role:
        desks.forget(LegId("old", role))
    assert desks.place(leg("old", Role.CALLER)).settings is other.settings


def test_a_call_goes_on_to_the_sinks_of_its_beginning() -> None:
    one, two = _Sink("console"), _Sink("jsonl")
    fan = FanOut([one, two], {"r": frozenset({"console"})})
    for call, rule_of in (("ruled", "r"), ("free", "s")):
        fan.publish(event(0, call, "call.started", rule=rule_of))
    fan.adopt({"r": frozenset({"jsonl"}), "s": frozenset()})
    fan.publish(event(0, "new", "call.started", rule="r"))
    for call in ("ruled", "free", "new"):
        fan.publish(event(1, call))
    assert [call for call, kind in one.got if kind == "transcript.final"] == ["ruled", "free"]
    assert [call for call, kind in two.got if kind == "transcript.final"] == ["free", "new"]


def test_what_comes_late_goes_by_the_rules_of_now() -> None:
    one, two = _Sink("console"), _Sink("jsonl")
    fan = FanOut([one, two], {"r": frozenset({"console"})})
    fan.adopt({"r": frozenset({"jsonl"})})
    fan.publish(replace(event(3, "over"), rule="r"))
    assert (one.got, [call for call, _ in two.got]) == ([], ["over"])


async def test_consent_is_asked_for_in_calls_that_begin_from_now_on() -> None:
    rules = (CallRule("sales"),)
    async with running(rules=rules) as one:
        await one.announce("before")
        one.board.adopt(replace(one.board._settings, consent=frozenset({"sales"})))
        await one.announce("after")
        assert not one.desks.begun["before"].new.paused
        assert one.desks.begun["after"].new.paused


async def test_the_page_has_its_new_token_and_hides_what_is_hidden_now() -> None:
    call = fake.busy_call()
    door, book = Door("first-token-of-16"), fake.Book(call)
    page = Page(book, FeedSink(), door)
    version, before = await page._pulse.since(0)
    rules = [{"name": call["rule"], "sinks": ["jsonl"]}]
    yaml = config(page={"port": 8091}, sinks={"jsonl": {"path": "/x/e.jsonl"}}, rules=rules)
    page_part(page)(yaml.with_secrets(Secrets(page_token="second-token-of-16")))()
    _, after = await page._pulse.since(version)
    said = call["legs"][0]["last"]
    assert said
    assert (said in before, said in after, call["id"] in after) == (True, False, True)
    assert door._token == b"second-token-of-16"


async def test_a_call_goes_on_to_the_endpoints_of_its_beginning(tmp_path: Path) -> None:
    async with opened(tmp_path / "o.db", {A: frozenset({"r"})}) as outbox:
        await outbox.add([started("live", "r"), started("other", "s")])
        outbox.adopt({A: frozenset({"s"})}, frozenset({"r"}))
        outbox.adopt({A: frozenset({"s"})}, frozenset({"r"}))
        new = [started("new", "s"), event(1, "live"), event(1, "new"), event(1, "other")]
        new.append(started("late", "r"))
        await outbox.add([*new, event(2, "live", "call.ended")])
        assert await ids(outbox) == ["live/0", "new/0", "live/1", "new/1", "live/2"]
        await outbox.add([event(3, "live")])
        assert "live/3" not in await ids(outbox), "what comes after its end is by what holds now"


async def test_calls_whose_end_never_comes_do_not_pile_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bridge.outbox.outbox._MOST_LIVE", 2)
    async with opened(tmp_path / "o.db", {A: None}) as outbox:
        await outbox.add([started("one"), started("two"), started("one"), started("three")])
        assert list(outbox._live) == ["two", "three"]
        outbox.adopt({A: None}, frozenset())
        await outbox.add([started("four")])
        assert list(outbox._former) == ["two", "three"]


def test_rules_that_have_chosen_stay_chosen_and_the_next_are_asked() -> None:
    one = Selection((rule("old", "caller", "1"),))
    one.choice(channel("a", number="1"), None)
    assert one.choice(channel("b", number="2"), None) is None
    one.choose_by((rule("new", "caller", "2"),), ())
    kept, asked = one.choice(channel("a", number="1"), None), one.choice(channel("b", number="2"), None)
    assert kept is not None
    assert asked is not None
    assert (kept.rule, asked.rule) == ("old", "new")
    one.choose_by((), ())
    assert one.choice(channel("c", number="2"), None) is None


def test_more_channels_let_the_next_in_and_fewer_close_none() -> None:
    quota = Quota(QuotaSettings(max_sessions=1))
    first, second = quota.ask(0, 0.0), quota.ask(0, 0.0)
    assert quota.step(0.0).dial == [first]
    quota.opened(first, 0.0)
    assert quota.counters(0.0).alarm
    quota.adopt(QuotaSettings(max_sessions=3))
    assert not quota.counters(0.0).alarm
    assert quota.step(1.0).dial == [second]
    quota.opened(second, 1.0)
    quota.adopt(QuotaSettings(max_sessions=1, on_full=OnFull.LOWEST_PRIORITY_OUT))
    third = quota.ask(0, 2.0)
    step = quota.step(2.0)
    assert (step.dial, step.evict, quota.counters(2.0).held) == ([], [], 2)
    quota.released(first, 3.0)
    assert quota.step(3.0).dial == []
    quota.released(second, 4.0)
    assert quota.step(4.0).dial == [third]
    quota.adopt(QuotaSettings())
    assert not quota.counters(5.0).alarm


async def test_new_credentials_are_for_the_next_token() -> None:
    async with (
        Emulator(Knobs(client_secret="second")) as rtzr,
        Tokens(rtzr.auth_url, "demo", "first", renew_before_s=600, timeout_s=5) as tokens,
    ):
        with pytest.raises(Refused):
            await tokens.get()
        tokens.adopt("demo", "second")
        token = await tokens.get()
        tokens.adopt("demo", "third")
        assert await tokens.get() is token, "the present one is good"


async def test_a_pbx_is_shown_its_new_password_at_the_next_login() -> None:
    async with Ari("http://127.0.0.1:9/ari", "u", "old", "app") as ari:
        before = dict(ari._headers)
        ari.adopt("new")
        assert ari._headers != before
        assert ari._http.headers["authorization"] == ari._headers["Authorization"]
    async with Ami("127.0.0.1", 9, "u", "old") as ami:
        ami.adopt("new")
        assert ami._secret == "new"


async def test_webhooks_are_signed_with_the_new_keys() -> None:
    hook = {"name": "crm", "url": "https://crm.example", "secret_env": ["K"]}
    yaml = config(outbox={"path": "/x/o.db"}, sinks={"webhooks": [hook]})
    (sender,) = build_webhooks(yaml.with_secrets(Secrets(named={"K": KEY})))
    before = sender._keys
    take = webhooks_part([sender])(yaml.with_secrets(Secrets(named={"K": OTHER})))
    assert sender._keys == before
    take()
    assert sender._keys != before


def test_the_log_changes_its_level_and_form_where_it_goes() -> None:
    out = io.StringIO()
    configured = structlog.get_config()
    try:
        logs.set_up("warning", "console", out)
        log = structlog.get_logger()
        log.info("unseen")
        logs.change("info", "json")
        log.info("seen")
        assert out.getvalue().startswith('{"event": "seen"')
    finally:
        structlog.configure(**configured)
        logs._set_up.clear()
