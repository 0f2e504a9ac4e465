"""bridge/schema/asyncapi.py: whole in itself, and of the events only what each way brings."""

from typing import Any

import pytest
from jsonschema import Draft202012Validator

from bridge import events
from bridge.schema import asyncapi, shapes
from tests.schema.closed import references, resolved

DOCUMENT = asyncapi.document()
KINDS = set(shapes.TYPES.values())


def payload(message: Any) -> Any:
    return resolved(DOCUMENT, message["payload"]["$ref"])


def kinds(channel: str) -> set[str]:
    """The types of the events that come this way, one by one."""
    messages = [resolved(DOCUMENT, one["$ref"]) for one in DOCUMENT["channels"][channel]["messages"].values()]
    one_by_one = [payload(message) for message in messages if "$ref" in message["payload"]]
    return {schema["properties"]["type"]["const"] for schema in one_by_one}


def test_every_reference_leads_somewhere() -> None:
    found = references(DOCUMENT)
    assert found
    for reference in found:
        assert resolved(DOCUMENT, reference)


def test_every_way_is_used_and_the_daemon_is_who_sends() -> None:
    operations = DOCUMENT["operations"].values()
    assert {one["channel"]["$ref"] for one in operations} == {
        f"#/channels/{name}" for name in DOCUMENT["channels"]
    }
    assert {one["action"] for one in operations} == {"send"}


def test_partials_go_to_the_feed_alone() -> None:
    partial = shapes.TYPES[shapes.PARTIAL]
    assert kinds("webhook") == KINDS - {partial}
    assert kinds("feed") == kinds("socket") == KINDS | {"rtzr.feed.missed"}
    kept = DOCUMENT["components"]["schemas"]["Kept"]["oneOf"]
    assert len(kept) == len(KINDS) - 1


@pytest.mark.parametrize("number", [1, 2, 100, 101])
def test_a_batch_is_two_to_a_hundred_events(number: int) -> None:
    batch = DOCUMENT["components"]["messages"]["WebhookBatch"]
    assert batch["contentType"] == "application/cloudevents-batch+json"
    checker = Draft202012Validator({**batch["payload"], "components": DOCUMENT["components"]})
    event = events.call_started("c", 1).as_json()
    assert checker.is_valid([event] * number) == (2 <= number <= 100)
    assert not checker.is_valid([event, {**event, "type": "rtzr.transcript.partial"}])


def test_what_the_feed_missed_has_the_envelope_of_all() -> None:
    schema = {"$ref": "#/components/schemas/FeedMissed", "components": DOCUMENT["components"]}
    event = events.call_started("c", 1).as_json()
    missed = {**event, "type": "rtzr.feed.missed", "data": {"after": "c/leg/7"}}
    assert Draft202012Validator(schema).is_valid(missed)
    assert not Draft202012Validator(schema).is_valid(event)


def test_no_word_of_newer_drafts_which_its_tools_do_not_read() -> None:
    newer = {"$defs", "prefixItems", "unevaluatedProperties", "dependentRequired", "contentSchema", "$anchor"}
    assert not newer & words(DOCUMENT)


def words(value: Any) -> set[str]:
    """Every key."""
    if isinstance(value, list):
        return {found for one in value for found in words(one)}
    if not isinstance(value, dict):
        return set()
    return set(value).union(*(words(one) for one in value.values()))
