"""bridge/calls/ports.py: the PBX's RTP ports are asked for once a connection, on a channel that lives."""

from structlog.testing import capture_logs

from bridge.calls.ports import PortsOfPbx
from bridge.wire.pbxevents import Channel, ChannelCreated, Connected, PbxInfo
from tests.fakepbx import FakePbx, as_pbx
from tests.wire.channels import channel

FIRST, LAST = "AST_CONFIG(rtp.conf,general,rtpstart)", "AST_CONFIG(rtp.conf,general,rtpend)"
GREETING = Connected(PbxInfo("22.10.1", "pbx", 0.0))


class _Asking:
    """What was learnt of a PBX."""

    def __init__(self, *, needed: bool = True) -> None:
        self.pbx = FakePbx()
        self.learnt: list[tuple[int, int]] = []
        self.ports = PortsOfPbx(as_pbx(self.pbx), self.learnt.append, lambda: needed)

    def has(self, one: Channel, first: str = "10000", last: str = "20000") -> None:
        self.pbx.variables |= {(one.id, FIRST): first, (one.id, LAST): last}

    async def see(self, one: Channel) -> None:
        await self.ports.before(ChannelCreated(1.0, one))


async def test_the_first_channel_is_asked_on_and_no_other_until_the_next_connection() -> None:
    asking, one = _Asking(), channel("one")
    asking.has(one)
    for connection in (1, 2):
        await asking.ports.before(GREETING)
        for _ in range(3):
            await asking.see(one)
        assert asking.learnt == [(10000, 20000)] * connection


async def test_a_channel_that_is_gone_tells_nothing_and_the_next_one_does() -> None:
    asking, two = _Asking(), channel("two")
    asking.has(two)
    await asking.ports.before(GREETING)
    with capture_logs() as logs:
        await asking.see(channel("gone"))
        await asking.see(two)
    assert (asking.learnt, logs) == ([(10000, 20000)], [])


async def test_calls_that_are_live_at_a_connect_are_asked_on_in_turn() -> None:
    asking, two = _Asking(), channel("two")
    asking.has(two)
    await asking.ports.before(GREETING)
    await asking.ports.ask([channel("gone"), two, channel("three")])
    assert asking.learnt == [(10000, 20000)]


async def test_a_file_that_cannot_be_read_is_an_error_with_its_mend_once() -> None:
    asking, one = _Asking(), channel("one")
    asking.pbx.variables[one.id, "CHANNEL(state)"] = "Up"
    await asking.ports.before(GREETING)
    with capture_logs() as logs:
        await asking.see(one)
        await asking.see(one)
    (line,) = logs
    assert line["log_level"] == "error"
    assert "asterisk.rtp_range" in line["mend"]
    assert asking.learnt == []


async def test_a_pbx_that_does_not_answer_is_asked_a_few_times_only() -> None:
    asking, one = _Asking(), channel("one")
    asking.pbx.absent.add("variable")
    await asking.ports.before(GREETING)
    with capture_logs() as logs:
        for _ in range(5):
            await asking.see(one)
    asking.pbx.absent.clear()
    asking.has(one)
    await asking.see(one)
    assert ([line["log_level"] for line in logs], asking.learnt) == (["error"], [])


async def test_nothing_is_asked_where_it_is_told_or_not_needed() -> None:
    told, needless = _Asking(), _Asking(needed=False)
    await told.ports.before(Connected(PbxInfo("22.10.1", "pbx", 0.0, rtp_range=(5000, 6000))))
    await needless.ports.before(GREETING)
    for asking in (told, needless):
        asking.has(channel("one"))
        await asking.see(channel("one"))
    assert (told.learnt, needless.learnt) == ([(5000, 6000)], [])
