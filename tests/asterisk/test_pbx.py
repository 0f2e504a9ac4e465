"""The harness itself: a call passes the administrator's dialplan line, leaves its mark and one record."""

from tests.asterisk.pbx import HANGUP, Asterisk, wait_for


def test_announced_call_carries_its_mark(pbx: Asterisk) -> None:
    call = pbx.two_party_call([(0.2, HANGUP)], [], ring_s=0.5)
    wait_for(lambda: len(pbx.channels()) == 4, 2, lambda: pbx.cli("core show channels"))
    assert pbx.variable(call.caller, "RTZR_CALL") == f"{call.id}/{call.caller}"
    assert pbx.variable(call.caller, "CHANNEL(linkedid)") == call.id
    (callee,) = (c for c in pbx.channels() if "@phones" in c["name"] and c["name"].endswith(";1"))
    assert pbx.variable(callee["id"], "RTZR_CALL") == f"{call.id}/{call.caller}"
    assert pbx.variable(call.phone, "RTZR_CALL") is None
    wait_for(lambda: not pbx.channels(), 5, lambda: pbx.cli("core show channels"))
    rows = [row for row in pbx.cdr_rows() if call.number in row["channel"]]
    assert [(row["uniqueid"], row["disposition"]) for row in rows] == [(call.caller, "ANSWERED")]


def test_unannounced_call_carries_none(pbx: Asterisk) -> None:
    call = pbx.two_party_call([], [], context="unannounced")
    assert pbx.variable(call.caller, "RTZR_CALL") is None
