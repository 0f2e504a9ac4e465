"""bridge/net/awaited.py: whoever waits for a channel is told once, and leaves nothing behind."""

import pytest

from bridge.net.awaited import Awaited
from bridge.wire.pbxevents import Gone, PbxUnreachable


async def test_it_is_told_with_the_channels_id() -> None:
    awaited = Awaited()
    with awaited.expect("tap") as there:
        awaited.seen("other", "1")
        assert not there.done()
        awaited.seen("tap", "2")
        awaited.seen("tap", "3")
        awaited.gone("tap")
        assert await there == "2"


async def test_what_ended_before_is_gone() -> None:
    awaited = Awaited()
    with awaited.expect("tap") as there:
        awaited.gone("tap")
        with pytest.raises(Gone):
            await there


async def test_with_the_connection_all_hope_is_lost() -> None:
    awaited = Awaited()
    with awaited.expect("one") as one, awaited.expect("other") as other, awaited.expect("there") as there:
        awaited.seen("there", "3")
        awaited.lost()
        for future in (one, other):
            with pytest.raises(PbxUnreachable):
                await future
        assert await there == "3"


async def test_nobody_waits_any_more() -> None:
    awaited = Awaited()
    with awaited.expect("tap") as there:
        awaited.gone("tap")  # and nobody asks
    awaited.seen("tap", "1")
    assert there.done()
    with awaited.expect("tap") as again:
        pass
    assert again.cancelled()
