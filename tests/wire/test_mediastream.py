"""The commands of FreeSWITCH's media modules, and what their recorded events say of a stream."""

import json
from pathlib import Path

import pytest

from bridge.types import Codec, Transport
from bridge.wire.esl import EslEvent
from bridge.wire.mediastream import SUBCLASSES, Fate, Module, StreamNews, news, url
from bridge.wire.pbxevents import PbxError
from bridge.wire.taporder import Media, TapKind, TapOrder

CAPTURES = Path(__file__).parent.parent / "captures" / "freeswitch"
KEY = "0123456789abcdef0123456789abcdef"


def order(kind: TapKind = TapKind.MONO, codec: Codec = Codec.SLIN, host: str = "192.0.2.1") -> TapOrder:
    return TapOrder(kind, "rtzr.tap.1", "a-b-c", Media(Transport.AUDIOSTREAM, codec, host, 8787, KEY))


def test_how_streams_are_started() -> None:
    where = f"ws://192.0.2.1:8787/{KEY}"
    stream, fork = Module.AUDIO_STREAM, Module.AUDIO_FORK
    assert stream.start(order(), secure=False) == ("uuid_audio_stream", "a-b-c", "start", where, "mono", "8k")
    assert stream.start(order(codec=Codec.SLIN16), secure=False)[-1] == "16k"
    assert stream.start(order(codec=Codec.SLIN24), secure=False)[-1] == "24000"
    assert stream.start(order(TapKind.STEREO), secure=False)[-2] == "stereo"
    assert fork.start(order(), secure=False)[-3:] == ("mono", "8000", "rtzr_bridge")
    assert fork.start(order(), secure=True)[3] == f"wss://192.0.2.1:8787/{KEY}"


def test_what_is_set_before() -> None:
    usual = "STREAM_MESSAGE_DEFLATE=true;STREAM_HEART_BEAT=30"
    assert Module.AUDIO_STREAM.variables(TapKind.MONO) == usual
    assert Module.AUDIO_STREAM.variables(TapKind.STEREO) == f"{usual};send_silence_when_idle=-1"
    assert Module.AUDIO_FORK.variables(TapKind.MONO) == ""
    assert Module.AUDIO_FORK.variables(TapKind.STEREO) == "send_silence_when_idle=-1"


def test_how_streams_are_stopped() -> None:
    assert Module.AUDIO_STREAM.stop("a") == ("uuid_audio_stream", "a", "stop")
    assert Module.AUDIO_FORK.stop("a") == ("uuid_audio_fork", "a", "stop", "rtzr_bridge")


@pytest.mark.parametrize("wrong", [order(host="a b"), order(host="docker_compose"), order(TapKind.CHANSPY)])
def test_what_no_command_can_hold_is_an_error(wrong: TapOrder) -> None:
    with pytest.raises(PbxError):
        Module.AUDIO_STREAM.start(wrong, secure=False)


def test_the_address_of_ipv6_has_brackets() -> None:
    assert url(order(host="::1"), secure=False).startswith("ws://[::1]:8787/")


def recorded(name: str) -> list[StreamNews]:
    """All that a recording's events say of streams."""
    (path,) = CAPTURES.glob(f"{name}-*.jsonl")
    found = []
    for line in path.read_text(encoding="utf-8").splitlines():
        event = json.loads(line).get("event")
        if event is not None:
            headers = {key: str(value) for key, value in event.items()}
            body = headers.pop("_body", "")
            said = news(EslEvent(headers["Event-Name"], headers.get("Event-Subclass", ""), headers, body))
            found += [said] if said is not None else []
    return found


@pytest.mark.parametrize(
    ("name", "fates", "why"),
    [
        ("mas-01", ["connected"], ""),
        ("mas-09", ["failed"], "WebSocket upgrade failed 6"),
        ("mas-12", ["failed"], "Timeout 10"),
        ("mas-14", ["connected", "lost", "connected"], ""),
        ("mas-15", ["connected", "failed", "connected"], ""),
        ("mas102-06", ["connected", "lost", "connected"], ""),
        ("mas102-04", ["failed"], "Expecting status 101 (Switching Protocol), got 403 status 403"),
        ("fork-jambonz-05", ["failed"], "Unable to connect"),
        ("fork-drachtio-06", ["connected", "lost", "connected"], ""),
        ("fork-jambonz-08", ["connected"], ""),
        ("mas-17", ["connected"], ""),
    ],
)
def test_what_modules_tell(name: str, fates: list[str], why: str) -> None:
    found = recorded(name)
    assert [one.fate for one in found] == [Fate(fate) for fate in fates]
    assert found[-1].why == why
    assert all(len(one.channel) == 36 for one in found)


def test_no_key_is_in_what_is_told() -> None:
    body = json.dumps({"message": {"error": f"refused connecting to ws://192.0.2.1/{KEY}, gone"}})
    told = news(EslEvent("CUSTOM", "mod_audio_stream::error", {"Unique-ID": "a"}, body))
    assert told == StreamNews("a", Fate.FAILED, "refused")


@pytest.mark.parametrize("body", ["", "{", "[]", "1", '{"message": 3}', "[" * 100_000])
def test_any_body_will_do(body: str) -> None:
    told = news(EslEvent("CUSTOM", "mod_audio_stream::disconnect", {"Unique-ID": "a"}, body))
    assert told == StreamNews("a", Fate.LOST)


def test_a_fork_that_a_server_asks_to_end_is_not_lost() -> None:
    asked = EslEvent("CUSTOM", "mod_audio_fork::disconnect", {"Unique-ID": "a"}, '{"r":1}')
    assert news(asked) is None
    lost = EslEvent("CUSTOM", "mod_audio_fork::disconnect", {"Unique-ID": "a"}, "")
    assert news(lost) == StreamNews("a", Fate.LOST, alone=False)


def test_what_is_about_no_stream_is_nothing() -> None:
    for subclass in ("mod_audio_fork::error", "mod_audio_stream::json", "sofia::register", ""):
        assert news(EslEvent("CUSTOM", subclass, {"Unique-ID": "a"}, "")) is None
    assert news(EslEvent("CUSTOM", SUBCLASSES[0], {}, "")) is None
