"""bridge/wire/webhook.py: what is signed can be verified and nothing else; an answer has one meaning."""

import base64
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks import Webhook, WebhookVerificationError

from bridge.outbox.stored import Rejected, Stored
from bridge.wire import webhook
from tests.net.receiver import OLD_SECRET, SECRET, stored

NOW = datetime.now(UTC).timestamp()
KEYS = [webhook.key(SECRET)]


def posted(events: Sequence[Stored], secrets: Sequence[str] = (SECRET,), away_s: float = 0) -> webhook.Post:
    """Signed now: a receiver compares with its own clock, and this module may have been read minutes ago."""
    at = datetime.now(UTC).timestamp() + away_s
    return webhook.post(events, [webhook.key(secret) for secret in secrets], at)


def verifies(post: webhook.Post, secret: str = SECRET, **changed: str) -> bool:
    """Whether a receiver that knows `secret` takes it, with headers changed on the way."""
    headers = dict(post.headers) | {name.replace("_", "-"): value for name, value in changed.items()}
    try:
        Webhook(secret).verify(post.body, headers)
    except WebhookVerificationError:
        return False
    return True


def judged(status: int, retry_after: str | None = None, events: int = 1) -> Rejected:
    with pytest.raises(Rejected) as rejected:
        webhook.judge(status, events, retry_after, None, NOW)
    return rejected.value


class TestSignature:
    def test_the_published_vector(self) -> None:
        name = "msg_p5jXN8AQM9LWM0D4loKWxJek"
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(webhook, "webhook_id", lambda _ids: name)
            post = webhook.post(
                [Stored(1, "x", "c", "t", b'{"test": 2432232314}')], KEYS, at_unix=1614265330.9
            )
        assert dict(post.headers)["webhook-id"] == name
        assert dict(post.headers)["webhook-timestamp"] == "1614265330"
        assert dict(post.headers)["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="

    def test_a_receiver_verifies_it(self) -> None:
        assert verifies(posted([stored(1)]))
        assert verifies(posted([stored(1), stored(2)]))

    def test_who_has_another_secret_does_not(self) -> None:
        assert not verifies(posted([stored(1)]), OLD_SECRET)

    @pytest.mark.parametrize("secret", [SECRET, OLD_SECRET])
    def test_while_secrets_change_both_verify(self, secret: str) -> None:
        assert verifies(posted([stored(1)], (SECRET, OLD_SECRET)), secret)

    @pytest.mark.parametrize("away_s", [-360, 360])
    def test_an_old_or_future_time_is_refused(self, away_s: float) -> None:
        assert not verifies(posted([stored(1)], away_s=away_s))

    def test_nothing_of_the_headers_can_be_changed(self) -> None:
        post = posted([stored(1)])
        assert not verifies(post, webhook_id="msg_0")
        assert not verifies(post, webhook_timestamp=str(int(dict(post.headers)["webhook-timestamp"]) + 1))
        assert not verifies(post, webhook_signature="v1,AAAA")

    @given(st.integers(0, 10_000), st.integers(1, 255))
    def test_no_byte_of_the_body_can_be_changed(self, place: int, change: int) -> None:
        post = posted([stored(1, text="a")])
        body = bytearray(post.body)
        body[place % len(body)] ^= change & 0x7F or 1
        assert not verifies(webhook.Post(post.headers, bytes(body)))

    def test_it_is_not_shown(self) -> None:
        assert "여보세요" not in repr(posted([stored(1)]))


class TestBody:
    def test_one_event_is_itself(self) -> None:
        post = posted([stored(1)])
        assert post.body == stored(1).body
        assert dict(post.headers)["content-type"] == "application/cloudevents+json; charset=utf-8"

    def test_several_are_a_batch_in_order(self) -> None:
        events = [stored(number) for number in range(1, 101)]
        post = posted(events)
        assert json.loads(post.body) == [json.loads(event.body) for event in events]
        assert dict(post.headers)["content-type"] == "application/cloudevents-batch+json; charset=utf-8"


class TestId:
    def test_it_is_the_same_at_every_try(self) -> None:
        first, later = posted([stored(1)]), posted([stored(1)], away_s=60)
        assert dict(first.headers)["webhook-id"] == dict(later.headers)["webhook-id"]

    @given(st.lists(st.text(), min_size=1, max_size=5), st.lists(st.text(), min_size=1, max_size=5))
    def test_it_tells_events_apart_and_can_stand_in_a_header(self, one: list[str], other: list[str]) -> None:
        name = webhook.webhook_id(one)
        assert name.isascii()
        assert name.replace("_", "").isalnum()
        if "\n".join(one) != "\n".join(other):
            assert name != webhook.webhook_id(other)


class TestKey:
    @pytest.mark.parametrize("size", [24, 32, 64])
    def test_the_usual_form_and_without_its_prefix(self, size: int) -> None:
        raw = bytes(range(size))
        text = base64.b64encode(raw).decode()
        assert webhook.key(f"whsec_{text}") == webhook.key(text) == raw

    @pytest.mark.parametrize(
        "secret", ["", "whsec_", "hunter2hunter2hunter2hunter2-", "whsec_MfKQ9r8GKYqr", "비밀", "A" * 100]
    )
    def test_what_is_none_is_told_without_repeating_it(self, secret: str) -> None:
        with pytest.raises(webhook.SecretFault, match="openssl rand") as fault:
            webhook.key(secret)
        assert len(secret) < 7 or secret not in str(fault.value)


class TestAnswers:
    @pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
    def test_it_has_them(self, status: int) -> None:
        webhook.judge(status, 1, None, None, NOW)

    @pytest.mark.parametrize("status", [101, 199, 301, 302, 307, 308, 401, 403, 404, 408, 429, 500, 503, 599])
    def test_it_may_have_them_later(self, status: int) -> None:
        rejected = judged(status)
        assert (rejected.gone, rejected.poison) == (False, False)
        assert str(status) in str(rejected)

    def test_it_wants_no_more(self) -> None:
        assert judged(410).gone
        assert judged(410, events=2).gone

    @pytest.mark.parametrize("status", [400, 413, 422])
    def test_it_does_not_take_this_one(self, status: int) -> None:
        assert judged(status).poison

    @pytest.mark.parametrize("status", [400, 413, 415, 422])
    def test_it_does_not_take_a_batch(self, status: int) -> None:
        assert isinstance(judged(status, events=2), webhook.BatchRefused)
        assert not isinstance(judged(status), webhook.BatchRefused)

    def test_it_says_when(self) -> None:
        later = format_datetime(datetime.fromtimestamp(int(NOW) + 90, UTC), usegmt=True)
        assert judged(429, "7").retry_after_s == 7
        assert judged(503, later).retry_after_s == pytest.approx(90, abs=1)
        assert judged(500).retry_after_s is None

    @pytest.mark.parametrize(
        ("text", "wait_s"),
        [
            ("0", 0), (" 120 ", 120), ("9" * 50, 86400), ("-1", None), ("1.5", None), ("", None),
            ("soon", None), ("Wed, 21 Oct 2015 07:28:00 GMT", 0),
            ("Wed, 21 Oct 9999 07:28:00 GMT", 86400),
            ("Wed, 99 Oct 2015 99:28:00 GMT", None), ("٣", None),
        ],
    )  # fmt: skip
    def test_how_long(self, text: str, wait_s: float | None) -> None:
        assert webhook.waiting_s(text, None, NOW) == wait_s

    @pytest.mark.parametrize(
        ("date", "wait_s"),
        [
            ("Wed, 21 Oct 2015 07:28:00 GMT", 30), ("Wed, 21 Oct 2015 07:29:00 GMT", 0),
            ("Wed, 21 Oct 2014 07:29:00 GMT", 86400), ("soon", 0), ("", 0), (None, 0),
        ],
    )  # fmt: skip
    def test_until_a_date_by_the_clock_of_the_answer(self, date: str | None, wait_s: float) -> None:
        """By ours, for which it is long over, only where the answer has none."""
        assert webhook.waiting_s("Wed, 21 Oct 2015 07:28:30 GMT", date, NOW) == wait_s

    @given(st.text(), st.text() | st.none())
    def test_any_text_is_a_wait_or_none(self, text: str, date: str | None) -> None:
        found = webhook.waiting_s(text, date, NOW)
        assert found is None or 0 <= found <= 86400
