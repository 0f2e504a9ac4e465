"""bridge/sinks/pbx.py: finals, and only finals, in a form that the PBX can read."""

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.sinks.pbx import PbxSink, as_event, as_variable, shortened
from bridge.types import Event
from bridge.wire.pbxevents import Gone, PbxUnreachable


class _Pbx:
    def __init__(self) -> None:
        self.told: list[tuple[str, ...]] = []
        self.fault: Exception | None = None

    async def tell(self, name: str, channel: str, fields: Mapping[str, str]) -> None:
        self._keep(name, channel, *fields.values())

    async def set_variable(self, channel: str, name: str, value: str) -> None:
        self._keep(name, channel, value)

    def _keep(self, *told: str) -> None:
        if self.fault is not None:
            raise self.fault
        self.told.append(told)


def event(text: str, kind: str = "final") -> Event:
    data = {"channel": "1.5", "party": {"role": "caller"}, "text": text, "start_ms": 100, "end_ms": 900}
    return Event("id", f"rtzr.transcript.{kind}", "call-1", "now", data)


async def put(sink: PbxSink, *events: Event) -> PbxSink:
    for one in events:
        sink.deliver(one)
    sink.close()
    await sink.run()
    return sink


async def test_a_final_is_an_event_and_a_partial_is_none() -> None:
    pbx = _Pbx()
    sink = await put(PbxSink(as_event(pbx, "RTZRText")), event("여보", "partial"), event("여보세요"))
    assert pbx.told == [("RTZRText", "1.5", "call-1", "caller", "100", "900", "여보세요")]
    assert (sink.name, sink.failed) == ("pbx", 0)


async def test_or_the_channels_variable() -> None:
    pbx = _Pbx()
    await put(PbxSink(as_variable(pbx, "RTZR_TEXT")), event("하나"), event("둘"))
    assert pbx.told == [("RTZR_TEXT", "1.5", "하나"), ("RTZR_TEXT", "1.5", "둘")]


@pytest.mark.parametrize(("fault", "failed"), [(Gone("x"), 0), (PbxUnreachable("not connected"), 1)])
async def test_who_hung_up_is_no_failure_and_a_pbx_that_is_away_is_counted(
    fault: Exception, failed: int
) -> None:
    pbx = _Pbx()
    pbx.fault = fault
    sink = await put(PbxSink(as_variable(pbx, "RTZR_TEXT")), event("하나"))
    assert sink.failed == failed


@given(st.text())
def test_any_text_fits_on_a_line_of_the_manager_interface(text: str) -> None:
    line = shortened(text)
    assert len(line.encode()) <= 900
    assert not set(line) & {"\r", "\n"}


def test_of_a_long_text_the_end_is_kept() -> None:
    line = shortened("가" * 400 + "나")
    assert line.endswith("가나")
    assert 890 < len(line.encode()) <= 900
