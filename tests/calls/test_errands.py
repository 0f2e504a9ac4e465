"""bridge/calls/errands.py: what the PBX is asked beside the events is done, and its failures harm nothing."""

from dataclasses import replace

from structlog.testing import capture_logs

from bridge.calls.errands import Errands, give_back, guarded
from bridge.wire.decisions import GiveBack, Pass, RemoveBridge, RemoveStray
from bridge.wire.pbxevents import Channel
from bridge.wire.rules import Choice
from tests.fakepbx import FakePbx, as_pbx
from tests.wire.channels import channel


async def test_what_is_let_be_is_asked_for_and_told_by_channel_alone() -> None:
    pbx = FakePbx()
    with capture_logs() as logs:
        errands = Errands(as_pbx(pbx))
        async with errands.tasks:
            errands.let_be(RemoveStray("tap"))
            errands.let_be(RemoveBridge("bridge"))
            errands.let_be(GiveBack("A"))
            errands.let_be(Pass("B", Choice("never", tap=False, reason="it says so")))
    assert pbx.done == [("hangup", "tap"), ("destroy_bridge", "bridge"), ("give_back", "A")]
    assert [log["event"] for log in logs] == [
        "stray tap removed",
        "stray bridge removed",
        "call given back to its dialplan",
        "call passed",
    ]


async def test_one_that_fails_is_told_and_takes_no_other_with_it() -> None:
    pbx = FakePbx()
    pbx.absent = {"A"}
    with capture_logs() as logs:
        errands = Errands(as_pbx(pbx))
        async with errands.tasks:
            errands.let_be(GiveBack("A"))
            errands.let_be(GiveBack("B"))
    assert pbx.done == [("give_back", "B")]
    (told,) = [log for log in logs if log["log_level"] == "warning"]
    assert told["reason"] == "PbxUnreachable ReadTimeout"


async def test_what_nobody_foresaw_is_told_too() -> None:
    async def odd() -> None:
        raise LookupError

    with capture_logs() as logs:
        await guarded(odd())
    assert [log["log_level"] for log in logs] == ["error"]


async def test_in_the_end_everybody_who_waits_is_given_back_though_one_cannot_be() -> None:
    waits = [channel("A"), channel("B"), channel("C")]
    pbx = FakePbx(*waits, replace(channel("D"), application="Dial"))
    pbx.absent = {"B"}

    def stays(one: Channel) -> bool:
        return one in waits

    with capture_logs():
        await give_back(as_pbx(pbx), stays)
    assert pbx.done == [("give_back", "A"), ("give_back", "C")]
