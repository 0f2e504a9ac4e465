"""bridge/wire/arirequest.py: requests say what they should, and values that could say more are refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.types import Codec
from bridge.wire import arirequest
from bridge.wire.pbxevents import PbxError
from tests.orders import order


def test_tap_request() -> None:
    request = arirequest.originate_tap(order("tap-1", "1795365649.2", 40002, host="10.0.0.5"), "rtzr-tap")
    assert (request.method, request.path) == ("POST", "channels")
    assert request.query == {
        "endpoint": "UnicastRTP/10.0.0.5:40002/c(ulaw)",
        "context": "rtzr-tap",
        "extension": "s",
        "priority": "1",
        "channelId": "tap-1",
        "formats": "ulaw",
    }
    assert request.body == {"variables": {"RTZR_CHAN": "1795365649.2", "CDR_PROP(disable)": "1"}}


def test_ipv6_host_is_bracketed() -> None:
    request = arirequest.originate_tap(
        order("tap-1", "1.2", 40002, host="::1", codec=Codec.SLIN16), "rtzr-tap"
    )
    assert request.query["endpoint"] == "UnicastRTP/[::1]:40002/c(slin16)"


@pytest.mark.parametrize("host", ["", "a/b", "a b", "a:1", "a\r\nb", "[::1]"])
def test_host_that_is_none_is_refused(host: str) -> None:
    with pytest.raises(PbxError):
        arirequest.originate_tap(order("t", "c", 1, host=host), "rtzr-tap")


@pytest.mark.parametrize("port", [0, -1, 65536])
def test_port_that_is_none_is_refused(port: int) -> None:
    with pytest.raises(PbxError):
        arirequest.originate_tap(order("t", "c", port), "rtzr-tap")


@given(st.text())
def test_channel_id_is_one_argument_and_one_path_segment(text: str) -> None:
    try:
        path = arirequest.hangup(text).path
    except PbxError:
        return
    assert path.count("/") == 1
    assert "," not in text
    assert text.isascii()
    assert text.isprintable()


def test_requests_name_the_application() -> None:
    assert arirequest.subscription("a/b").path == "applications/a%2Fb/subscription"
    allowed = arirequest.event_filter("rtzr").body
    assert allowed is not None
    assert {"type": "ApplicationReplaced"} in allowed["allowed"]


def test_variables_are_told_only_if_asked_for() -> None:
    varset = {"type": "ChannelVarset"}
    without, with_them = (
        arirequest.event_filter("rtzr").body,
        arirequest.event_filter("rtzr", variables=True).body,
    )
    assert without is not None
    assert with_them is not None
    assert varset not in without["allowed"]
    assert varset in with_them["allowed"]
    assert [one for one in with_them["allowed"] if one != varset] == without["allowed"]


def test_a_user_event_is_for_one_application_and_of_one_channel() -> None:
    request = arirequest.user_event("RTZR Text", "crm", "1.2", {"Text": "여보세요"})
    assert (request.method, request.path) == ("POST", "events/user/RTZR%20Text")
    assert request.query == {"application": "crm", "source": "channel:1.2"}
    assert request.body == {"variables": {"Text": "여보세요"}}
    with pytest.raises(PbxError):
        arirequest.user_event("RTZRText", "crm", "1.2,bridge:1", {})


def test_who_asks_is_proved_by_the_header_of_http() -> None:
    assert arirequest.proof("Aladdin", "open sesame") == {
        "Authorization": "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="
    }
