"""The ways on which events leave, as AsyncAPI 3.0: webhooks, Redis streams and the live feed.

What an event is, is in `shapes`. How each way works is its sender's own concern; here is what a receiver has
to know of it.
"""

from typing import Any

from bridge import VERSION
from bridge.schema.shapes import PARTIAL, TYPES, Schema, definitions

_JSON = "application/cloudevents+json"
_BATCH = "application/cloudevents-batch+json"
_MOST_IN_BATCH = 100
_MISSED = "FeedMissed"

_TEXT: Schema = {"type": "string"}
_AGAIN = (
    "At least once, in order within a call; an event that comes again has the same id, so drop what is known."
)


def document() -> Schema:
    """The whole of it."""
    return {
        "asyncapi": "3.0.0",
        "id": "urn:rtzr-bridge",
        "info": {
            "title": "rtzr-bridge",
            "version": VERSION,
            "description": "Live transcripts of telephone calls. " + _AGAIN,
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": _JSON,
        "channels": _channels(),
        "operations": _operations(),
        "components": {
            "messages": _messages(),
            "schemas": _schemas(),
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "token": {"type": "httpApiKey", "name": "token", "in": "query"},
            },
        },
    }


def _channels() -> dict[str, Schema]:
    signed = ["Webhook" + name for name in _kept()]
    feed = [*TYPES, _MISSED]
    return {
        "webhook": {
            "address": None,
            "title": "Webhooks",
            "description": f"The URL of an endpoint of the YAML. Signed as Standard Webhooks says. {_AGAIN}",
            "messages": _of([*signed, "WebhookBatch"]),
        },
        "redis": {
            "address": "{stream}",
            "title": "Redis streams",
            "description": f"sinks.redis.stream: one for all calls, or one for each rule. {_AGAIN}",
            "parameters": {"stream": {"description": "The key.", "default": "rtzr:events"}},
            "messages": _of(["StreamEntry"]),
        },
        "feed": {
            "address": "/events",
            "title": "Live feed, server-sent events",
            "description": "Partials too. Last-Event-ID, or after=, goes on behind an event.",
            "messages": _of(feed),
        },
        "socket": {
            "address": "/ws",
            "title": "Live feed, WebSocket",
            "description": "Partials too; an event is one text message. after= goes on behind an event.",
            "messages": _of(feed),
            "bindings": {"ws": {"method": "GET", "query": _query()}},
        },
    }


def _query() -> Schema:
    told = {
        "call": "Only of these calls; each filter may be given more than once, and any one has to fit.",
        "rule": "Only of calls that these rules chose.",
        "party": "Only of these parties: caller, callee or a number.",
        "after": "The id of the last event that was had.",
        "token": "Where no Authorization header can be sent.",
    }
    return {
        "type": "object",
        "properties": {name: {**_TEXT, "description": text} for name, text in told.items()},
    }


def _operations() -> dict[str, Schema]:
    security = [{"$ref": f"#/components/securitySchemes/{name}"} for name in ("bearer", "token")]
    return {
        "post": _sending("webhook", bindings={"http": {"method": "POST"}}),
        "append": _sending("redis"),
        "stream": _sending(
            "feed", security=security, bindings={"http": {"method": "GET", "query": _query()}}
        ),
        "push": _sending("socket", security=security),
    }


def _sending(channel: str, **more: Any) -> Schema:
    return {"action": "send", "channel": {"$ref": f"#/channels/{channel}"}, **more}


def _kept() -> list[str]:
    """The events that go everywhere."""
    return [name for name in TYPES if name != PARTIAL]


def _of(names: list[str]) -> dict[str, Schema]:
    return {name: {"$ref": f"#/components/messages/{name}"} for name in names}


def _messages() -> dict[str, Schema]:
    plain = {name: _message(kind, _schema(name), _JSON) for name, kind in TYPES.items()}
    headers = {"headers": _schema("WebhookHeaders")}
    signed = {"Webhook" + name: plain[name] | headers for name in _kept()}
    batch = {"type": "array", "items": _schema("Kept"), "minItems": 2, "maxItems": _MOST_IN_BATCH}
    return {
        **plain,
        **signed,
        "WebhookBatch": _message("A batch", batch, _BATCH) | headers,
        "StreamEntry": _message("An entry of a stream", _schema("StreamEntry"), "application/json"),
        _MISSED: _message("rtzr.feed.missed", _schema(_MISSED), _JSON),
    }


def _message(title: str, payload: Schema, content: str) -> Schema:
    return {"title": title, "contentType": content, "payload": payload}


def _schema(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def _schemas() -> dict[str, Schema]:
    return {
        **{name: _moved(schema) for name, schema in definitions().items()},
        "Kept": {"oneOf": [_schema(name) for name in _kept()]},
        "WebhookHeaders": _required(
            "Standard Webhooks 1.0.0.",
            {
                "webhook-id": "The same however often the same is sent.",
                "webhook-timestamp": "When this try was made, in Unix seconds.",
                "webhook-signature": "v1,BASE64 for each secret, with spaces in between: one has to fit.",
            },
        ),
        "StreamEntry": _required(
            "The fields of an entry; its own id in Redis is another for a repeat.",
            {
                "id": "The event's id: by this a repeat is known.",
                "type": "The event's type.",
                "call": "The event's subject.",
                "event": "The event: a CloudEvents JSON object, as `Kept` describes it.",
            },
        ),
        _MISSED: _missed(),
    }


def _required(description: str, told: dict[str, str]) -> Schema:
    properties = {name: {**_TEXT, "description": text} for name, text in told.items()}
    return {
        "type": "object",
        "description": description,
        "properties": properties,
        "required": list(properties),
    }


def _missed() -> Schema:
    """Made from another event's: the envelope is the same."""
    event: Schema = _moved(definitions()["CallMerged"])
    what = "The feed's own: events between `after` and the next one may be missing."
    data = {"type": "object", "properties": {"after": _TEXT}, "required": ["after"]}
    return event | {
        "description": what,
        "properties": event["properties"] | {"type": {"const": "rtzr.feed.missed"}, "data": data},
    }


def _moved(schema: Any) -> Any:
    """A copy whose references lead where AsyncAPI keeps schemas."""
    if isinstance(schema, dict):
        return {name: _moved(value) for name, value in schema.items()}
    if isinstance(schema, list):
        return [_moved(value) for value in schema]
    return schema.replace("#/$defs/", "#/components/schemas/") if isinstance(schema, str) else schema
