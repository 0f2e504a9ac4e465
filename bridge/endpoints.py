"""What the YAML says of Redis becomes an endpoint of the outbox: the sender, and whose calls it is told.

As `bridge.wiring`, of which it is a part: nothing runs here.
"""

from bridge.config import Config
from bridge.net.redisstream import RedisSender, RedisSettings, RulesOf


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
