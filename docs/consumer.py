"""A consumer of a Redis stream: drops repeats, prints what is new as lines of JSON, confirms what it has.

pip install redis; REDIS_URL=redis://127.0.0.1:6379/0 python consumer.py rtzr:events crm
"""

import os
import sys

from redis import Redis, ResponseError

stream, group = sys.argv[1:3]
redis = Redis.from_url(os.environ["REDIS_URL"], decode_responses=True, protocol=2)
SEEN = f"{group}:seen"  # in earnest: a unique column, written in one transaction with what the event changes

try:
    redis.xgroup_create(stream, group, id="0", mkstream=True)
except ResponseError as error:
    if "BUSYGROUP" not in str(error):  # else it is there already
        raise

position = "0"  # first what was given to us before and never confirmed, then, with >, what is new
while True:
    ((_, entries),) = redis.xreadgroup(group, "one", {stream: position}, count=100, block=5000) or [("", [])]
    for number, fields in entries:
        if fields and not redis.zscore(SEEN, fields["id"]):  # none: it was trimmed away meanwhile
            print(fields["event"], flush=True)
            redis.zadd(SEEN, {fields["id"]: number.partition("-")[0]})
        redis.xack(stream, group, number)
    position = ">" if position == ">" or not entries else "0"
    redis.zremrangebyrank(SEEN, 0, -100_001)  # the newest hundred thousand are kept
