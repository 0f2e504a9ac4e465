"""bridge/net/awaited.py: whoever waits for a channel is told once, and leaves nothing behind."""

import pytest

from bridge.net.awaited import Answers, Awaited
from bridge.wire.pbxevents import ChannelDestroyed, Dial, Gone, PbxUnreachable
from tests.wire.channels import channel


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


async def test_an_answer_that_came_before_it_was_awaited_counts() -> None:
    answers = Answers(1.0)
    answers.watch("tap")
    answers.note(Dial(0.0, None, channel("tap"), ""))
    answers.note(Dial(0.0, None, channel("tap"), "ANSWER"))
    answers.note(ChannelDestroyed(0.0, channel("tap"), 16))
    await answers.wait("tap")
    assert answers._futures == {}
    assert answers._futures == {}, "nobody watches it any more"


async def test_what_is_never_answered_is_given_up() -> None:
    answers = Answers(0.01)
    answers.watch("tap")
    with pytest.raises(PbxUnreachable):
        await answers.wait("tap")
    answers.watch("tap")
    answers.forget("tap")
    answers.forget("tap")
    await answers.wait("tap")


async def test_nobody_waits_over_a_lost_connection() -> None:
    answers = Answers(1.0)
    answers.watch("tap")
    answers.lost()
    await answers.wait("tap")
    assert answers._futures == {}


async def test_what_ends_instead_ends_the_wait() -> None:
    answers = Answers(1.0)
    answers.watch("tap")
    answers.note(ChannelDestroyed(0.0, channel("tap"), 16))
    await answers.wait("tap")
    assert answers._futures == {}
