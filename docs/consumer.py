"""A consumer of a Redis stream: drops repeats, prints what is new as lines of JSON, confirms what it has.

pip install redis; REDIS_URL=redis://127.0.0.1:6379/0 python consumer.py rtzr:events crm one

`crm` is the group, `one` this consumer's own name in it. Redis 6.2 or later.
"""

import os
import sys
import time
from contextlib import suppress

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

stream, group, me = sys.argv[1:4]
once = Retry(
    NoBackoff(), 0
)  # what a lost answer held is ours by then: it is read with 0, not by asking again
db = redis.Redis.from_url(os.environ["REDIS_URL"], decode_responses=True, protocol=2, retry=once)
SEEN = f"{group}:seen"  # in earnest: a unique column, written in one transaction with what the event changes

position = ""
while True:
    try:
        if not position:
            with suppress(redis.ResponseError):  # it is there already
                db.xgroup_create(stream, group, id="0", mkstream=True)
            position = "0"  # first what was given to us before and never confirmed, then, with >, what is new
        ((_, entries),) = db.xreadgroup(group, me, {stream: position}, count=100, block=1000) or [("", [])]
        if position == ">" and not entries:  # then what somebody took a minute ago and never confirmed
            entries = db.xautoclaim(stream, group, me, 60_000, count=100)[1]
        elif not entries:
            position = ">"
        for number, fields in entries:
            if fields and not db.zscore(SEEN, fields["id"]):  # none: it was trimmed away meanwhile
                print(fields["event"], flush=True)
                db.zadd(SEEN, {fields["id"]: number.partition("-")[0]})
            db.xack(stream, group, number)
        db.zremrangebyrank(SEEN, 0, -100_001)  # the newest hundred thousand are kept
    except (redis.ConnectionError, redis.TimeoutError):
        position = ""
        time.sleep(1)
