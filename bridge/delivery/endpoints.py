"""What the YAML says of webhooks and of Redis becomes the outbox's endpoints: senders, and whose calls they
are told.

As `bridge.wiring`, of which it is a part: nothing runs here.
"""

import ssl

from bridge.config import Config
from bridge.config.webhooks import Webhook
from bridge.net.redisstream import RedisSender, RedisSettings, RulesOf
from bridge.net.webhook import WebhookSender
from bridge.wire.webhook import key


def build_webhooks(config: Config) -> list[WebhookSender]:
    """An endpoint for each webhook, not entered."""
    return [
        WebhookSender(
            endpoint_of(webhook),
            webhook.called(config.secrets.named),
            keys_of(webhook, config),
            batch=webhook.batch,
            timeout_s=webhook.timeout_s,
            reach=webhook.reach,
            tls=ssl.create_default_context(cafile=webhook.ca_file),
        )
        for webhook in config.sinks.webhooks
    ]


def keys_of(webhook: Webhook, config: Config) -> list[bytes]:
    """With which it is signed."""
    return [key(config.secrets.named[variable]) for variable in webhook.secret_env]


def rules_of_endpoints(config: Config) -> dict[str, frozenset[str] | None]:
    """Of which rules' calls each endpoint is told, by its name; None for every call's."""
    return rules_of_webhooks(config) | rules_of_redis(config)


def rules_of_webhooks(config: Config) -> dict[str, frozenset[str] | None]:
    """Of which rules' calls each webhook is told, by its endpoint's name; None for every call's."""
    return {
        endpoint_of(webhook): None if webhook.rules is None else frozenset(webhook.rules)
        for webhook in config.sinks.webhooks
    }


def endpoint_of(webhook: Webhook) -> str:
    """Its endpoint's name."""
    return f"webhook:{webhook.name}"


def build_redis(config: Config, rules_of: RulesOf | None = None) -> RedisSender | None:
    """The Redis streams, if they are asked for, not entered; `rules_of` says which rule chose a call."""
    redis = config.sinks.redis
    if redis.url is None:
        return None
    settings = RedisSettings(
        redis.url,
        redis.stream,
        redis.maxlen,
        redis.timeout_s,
        redis.username,
        "".join(config.secrets.named[variable] for variable in redis.variables),
        redis.ca_file,
    )
    return RedisSender(settings, rules_of)


def rules_of_redis(config: Config) -> dict[str, frozenset[str] | None]:
    """Of which rules' calls the streams are told, by the endpoint's name; None for every call's."""
    redis = config.sinks.redis
    if redis.url is None:
        return {}
    return {RedisSender.name: None if redis.rules is None else frozenset(redis.rules)}
