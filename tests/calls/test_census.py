"""bridge/calls/census.py: all that the PBX has, with one that cannot be read among it."""

from dataclasses import replace

import pytest
from structlog.testing import capture_logs

from bridge.calls.census import MARK, census, family
from bridge.wire.census import Mark
from bridge.wire.pbxevents import Bridge, PbxUnreachable
from tests.fakepbx import FakePbx, as_pbx
from tests.wire.channels import channel

LINKEDID = "CHANNEL(linkedid)"


async def test_marks_bridges_and_only_where_rules_want_them_families() -> None:
    pbx = FakePbx(channel("A"), channel("B"), channel("C"))
    pbx.variables = {("A", MARK): "A/A", ("B", MARK): "odd", ("B", LINKEDID): "A"}
    pbx.meetings = (Bridge("bridge", frozenset({"A", "B"})),)
    found = await census(as_pbx(pbx), rules=False)
    assert (found.channels, found.marks) == (pbx.live, {"A": Mark("A", "A")})
    assert (found.families, found.bridges) == ({}, pbx.meetings)
    ruled = await census(as_pbx(pbx), rules=True)
    assert (ruled.marks, ruled.families) == (found.marks, {"B": "A"})


async def test_without_the_channels_there_is_none() -> None:
    pbx = FakePbx()
    pbx.absent = {"channels"}
    with pytest.raises(PbxUnreachable):
        await census(as_pbx(pbx), rules=False)


async def test_who_cannot_be_asked_is_a_family_of_its_own_unless_it_leads_to_somebody() -> None:
    pbx = FakePbx()
    pbx.variables = {("A", LINKEDID): "0"}
    pbx.absent = {"B", "L;1"}
    with capture_logs():
        assert await family(as_pbx(pbx), channel("A")) == "0"
        assert await family(as_pbx(pbx), channel("C")) == "C", "it is gone by now"
        assert await family(as_pbx(pbx), channel("B")) == "B"
        assert await family(as_pbx(pbx), replace(channel("L;1"), name="Local/1@phones-1;1")) is None
