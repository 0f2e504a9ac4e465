"""docs/receiver.py, run as it is: what the bridge sends is printed once, and what others send never."""

import asyncio
import json
import os
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from bridge.net.webhook import WebhookSender
from bridge.outbox.stored import Rejected, Stored
from bridge.wire.address import Reach
from bridge.wire.webhook import key, post
from tests.net.receiver import OLD_SECRET, SECRET, stored

SCRIPT = Path(__file__).parent.parent / "docs" / "receiver.py"


@dataclass
class Running:
    """The receiver as a process."""

    process: asyncio.subprocess.Process
    url: str

    async def printed(self) -> list[dict[str, Any]]:
        """All that it has printed, once it is stopped."""
        self.process.terminate()
        out, _ = await self.process.communicate()
        return [json.loads(line) for line in out.decode().splitlines()]


@asynccontextmanager
async def running() -> AsyncIterator[Running]:
    environ = {**os.environ, "WEBHOOK_SECRET": SECRET, "PYTHONIOENCODING": "utf-8"}
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(SCRIPT), "0", env=environ, stdout=pipe, stderr=pipe
    )
    try:
        assert process.stderr is not None
        port = (await process.stderr.readline()).decode().removeprefix("listening on ").strip()
        yield Running(process, f"http://127.0.0.1:{port}/")
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def send(url: str, *sends: Sequence[Stored], secrets: Sequence[str] = (SECRET,)) -> None:
    keys = [key(secret) for secret in secrets]
    async with WebhookSender("webhook:crm", url, keys, reach=Reach(private=True)) as sender:
        for events in sends:
            await sender.send(events)


async def test_each_event_is_printed_once_and_in_order() -> None:
    one, two, three = (stored(number) for number in (1, 2, 3))
    async with running() as receiver:
        await send(receiver.url, [one], [one], [one, two], [two, three], [three])
        printed = await receiver.printed()
    assert [event["id"] for event in printed] == [one.id, two.id, three.id]
    assert printed[0]["data"]["text"] == "여보세요"


async def test_it_goes_on_while_its_secret_is_the_new_or_the_old_one() -> None:
    async with running() as receiver:
        await send(receiver.url, [stored(1)], secrets=(SECRET, OLD_SECRET))
        await send(receiver.url, [stored(2)], secrets=(OLD_SECRET, SECRET))
        assert len(await receiver.printed()) == 2


async def test_who_has_not_its_secret_is_refused() -> None:
    async with running() as receiver:
        with pytest.raises(Rejected, match="401"):
            await send(receiver.url, [stored(1)], secrets=(OLD_SECRET,))
        assert await receiver.printed() == []


@pytest.mark.parametrize(
    ("header", "value"),
    [
        ("webhook-signature", ""),
        ("webhook-signature", "v1"),
        ("webhook-signature", "v1,x v2,y,z"),
        ("webhook-signature", "v1,AAAA"),
        ("webhook-timestamp", "1614265330"),
        ("webhook-timestamp", "nan"),
        ("webhook-id", "msg_other"),
        ("body", '{"id": "forged"}'),
        ("body", b"\xff\xfe"),
    ],
)
async def test_what_was_changed_is_refused(header: str, value: str | bytes) -> None:
    async with running() as receiver, httpx.AsyncClient(trust_env=False) as http:
        request = post([stored(1)], [key(SECRET)], time.time())
        headers, body = dict(request.headers), request.body
        if header == "body":
            body = value if isinstance(value, bytes) else value.encode()
        else:
            headers[header] = str(value)
        answer = await http.post(receiver.url, headers=headers, content=body)
        assert answer.status_code == 401
        assert await receiver.printed() == []
