"""dialplan/freeswitch: XML that FreeSWITCH can read, with the names that the bridge looks for."""

import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

from bridge.config import Config
from bridge.config.values import loopback
from bridge.emulator.freeswitch.knobs import SwitchKnobs
from bridge.wire.freeswitch import ANNOUNCED, MARK
from bridge.wire.mediastream import SILENT_VARIABLE, Module
from bridge.wire.taporder import TapKind

FOLDER = Path(__file__).parent.parent / "dialplan" / "freeswitch"
FILES = sorted(FOLDER.rglob("*.xml"))
DIALPLAN = FOLDER / "rtzr_bridge.xml"


def root(name: str) -> ElementTree.Element:
    return ElementTree.parse(FOLDER / name).getroot()


def params() -> dict[str, str]:
    settings = root("event_socket.conf.xml").iter("param")
    return {param.attrib["name"]: param.attrib["value"] for param in settings}


def actions() -> list[tuple[str, str]]:
    found = ElementTree.parse(DIALPLAN).iter("action")
    return [(action.attrib["application"], action.attrib["data"]) for action in found]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_each_file_is_well_formed_and_says_where_it_goes(path: Path) -> None:
    ElementTree.parse(path)
    text = path.read_text()
    assert text.startswith("<!--\n  rtzr-bridge: ")
    assert re.search(r"conf/(autoload_configs|dialplan)/", text)
    assert max(map(len, text.splitlines())) <= 120


def test_each_file_is_named_in_the_readme() -> None:
    text = (FOLDER / "README.md").read_text()
    assert [path for path in FILES if str(path.relative_to(FOLDER)) not in text] == []


def test_the_event_socket_is_open_to_this_machine_alone_and_not_by_the_default_password() -> None:
    found = params()
    assert loopback(found["listen-ip"])
    assert found["apply-inbound-acl"] == "loopback.auto"
    assert int(found["listen-port"]) == Config().freeswitch.esl_port
    assert found["password"] not in ("", SwitchKnobs().password)


def test_the_modules_are_those_that_the_bridge_knows() -> None:
    loaded = [load.attrib["module"] for load in root("modules.conf.xml").iter("load")]
    assert loaded == ["mod_event_socket", Module.AUDIO_STREAM.label]
    assert Module.AUDIO_FORK.label in (FOLDER / "modules.conf.xml").read_text()


def test_a_call_is_announced_as_the_bridge_looks_for_it() -> None:
    found = actions()
    assert found[:2] == [
        ("export", f"{MARK}=${{uuid}}/${{uuid}}"),
        ("event", f"Event-Name=CUSTOM,Event-Subclass={ANNOUNCED}"),
    ]
    assert {application for application, _ in found} == {"export", "event"}
    extension = next(ElementTree.parse(DIALPLAN).iter("extension"))
    assert extension.attrib["continue"] == "true"
    [condition] = extension.iter("condition")
    assert re.fullmatch(condition.attrib["expression"], "2000")


def test_the_module_is_told_what_it_would_leave_to_chance() -> None:
    told = dict(data.split("=") for application, data in actions()[2:] if application == "export")
    ours = dict(each.split("=") for each in Module.AUDIO_STREAM.variables(TapKind.MONO).split(";"))
    assert told == {**ours, "STREAM_SUPPRESS_LOG": "true"}


def test_silence_is_asked_for_only_with_stereo_and_so_by_nobody_who_does_not_uncomment_it() -> None:
    assert not any(SILENT_VARIABLE in data for _, data in actions())
    assert f'data="{SILENT_VARIABLE}=-1"' in DIALPLAN.read_text()
