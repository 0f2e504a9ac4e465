"""The files of dialplan/asterisk/freepbx/ on a real Asterisk whose configuration has FreePBX 17's shape.

Its own dialplan is of thousands of lines; here is what a call passes through: the contexts and hooks of its
extensions.conf, by their names, and each file including its `_custom` one where FreePBX does.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.asterisk import pbx_config
from tests.asterisk.daemon import BridgeProcess, EmulatorProcess
from tests.asterisk.pbx import HANGUP, Asterisk, wait_for
from tests.asterisk.test_calls import dialogue, prompts
from tests.asterisk.test_check import checked
from tests.asterisk.test_rules import assert_both_heard, started_by

DIALPLAN = """
#include extensions_additional.conf
#include extensions_custom.conf

[from-trunk]
include => from-pstn

[from-pstn]
include => from-pstn-custom
include => ext-did
include => from-did-direct

[from-did-direct]
include => ext-local

[from-internal]
include => from-internal-xfer

[from-internal-xfer]
include => from-internal-custom
include => from-internal-additional

[macro-dialout-one-predial-hook]
exten => s,1,Return()

[macro-dialout-trunk-predial-hook]
exten => s,1,Return()
"""
ADDITIONAL = """
[ext-did]
include => ext-did-custom
exten => _1588XXXXXX,1,Set(__FROM_DID=${EXTEN})
 same => n,Goto(from-did-direct,${EXTEN:4},1)

[from-internal-additional]
include => ext-queues
include => outbound-allroutes
include => ext-local

[ext-local]
include => ext-local-custom
exten => _[1-8]XXXXX,1,Gosub(macro-dial-one,s,1(60,,${EXTEN}))
 same => n,Hangup()

[ext-queues]
include => ext-queues-custom
exten => _600XXXXXX,1,Answer()
 same => n,Queue(sales,,,,30)
 same => n,Hangup()

[from-queue]
exten => _X.,1,Set(__FROMQUEUEEXTEN=600)
 same => n,Goto(from-internal,${EXTEN},1)

[outbound-allroutes]
exten => _9XXXXXX,1,Gosub(macro-dialout-trunk,s,1(1,${EXTEN:1}))
 same => n,Hangup()

[macro-dial-one]
exten => s,1,Gosub(macro-dialout-one-predial-hook,s,1())
 same => n,Dial(Local/${ARG3}@phones/n,${ARG1})
 same => n,Return()

[macro-dialout-trunk]
exten => s,1,Gosub(macro-dialout-trunk-predial-hook,s,1())
 same => n,Dial(Local/${ARG2}@phones/n,60)
 same => n,Return()
"""
ARI = """
[general]
#include ari_general_additional.conf
#include ari_general_custom.conf

#include ari_additional.conf
#include ari_additional_custom.conf
"""
# The tests' own way in; FreePBX has such an account for itself.
HTTP, MANAGER = (
    "#include http_additional.conf\n#include http_custom.conf\n",
    "[general]\nenabled = yes\nport = {port}\nbindaddr = 127.0.0.1\n#include manager_custom.conf\n",
)


def snippet(name: str) -> str:
    """A file of ours, its password that of the tests."""
    return pbx_config.snippet(f"freepbx/{name}").replace("change-me", pbx_config.PASSWORD)


def write(pbx: Asterisk) -> None:
    """FreePBX's files, and ours where it includes them, in place of the tests' own."""
    places = pbx.places
    etc = pbx.root / places.sub("etc").relative_to("/")
    plan = (etc / "extensions.conf").read_text(encoding="utf-8")
    server = f"[general]\nenabled=yes\nbindaddr=127.0.0.1\nbindport={places.http_port}\nsessionlimit=100\n"
    files = {
        "extensions.conf": plan.replace("#include extensions-rtzr.conf", DIALPLAN),
        "extensions_additional.conf": ADDITIONAL,
        "ari.conf": ARI,
        "ari_general_additional.conf": "enabled=yes\npretty=no\nwebsocket_write_timeout=100\n",
        "ari_additional.conf": "",
        "http.conf": HTTP,
        "http_additional.conf": server,
        "manager.conf": MANAGER.format(port=places.ami_port),
    }
    names = [file.name for file in (pbx_config.SNIPPETS / "freepbx").glob("*.conf")]
    for name, text in {**files, **{name: snippet(name) for name in names}}.items():
        (etc / name).write_text(text, encoding="utf-8")


@pytest.fixture(scope="module")
def freepbx(asterisk_installed: None) -> Iterator[Asterisk]:
    pbx = Asterisk()
    write(pbx)
    with pbx:
        prompts(pbx)
        yield pbx


@pytest.fixture(scope="module")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmulatorProcess]:
    with EmulatorProcess(tmp_path_factory.mktemp("emulator"), "--recognition-ms", "100") as running:
        yield running


def test_the_files_are_loaded_without_a_complaint(freepbx: Asterisk) -> None:
    assert "sessionlimit" not in freepbx.log()
    assert "ChanSpy" in freepbx.cli("dialplan show rtzr-tap")
    for hook in ("one", "trunk"):
        shown = freepbx.cli(f"dialplan show macro-dialout-{hook}-predial-hook")
        assert shown.index("UserEvent(RTZR,") < shown.index("Return()")
    shown = freepbx.cli("manager show user rtzr-bridge")
    assert all(
        right in shown.partition("write perm:")[2] for right in ("call", "originate", "reporting", "user")
    )


@pytest.mark.parametrize("via", ["ari", "ami"])
def test_all_is_well_says_the_check(
    freepbx: Asterisk, emulator: EmulatorProcess, tmp_path: Path, via: str
) -> None:
    code, found = checked(freepbx, emulator.port, tmp_path, asterisk={"via": via})
    assert (code, {one["verdict"] for one in found.values()}) == (0, {"ok"}), found
    assert via == "ami" or found["http sessions"]["text"] == "sessionlimit is 200"


def test_over_ari_both_hooks_announce_calls(
    freepbx: Asterisk, emulator: EmulatorProcess, tmp_path: Path
) -> None:
    with BridgeProcess(freepbx, emulator, tmp_path) as bridge:
        for context, prefix, turn in (
            ("from-trunk", "1588", 0),
            ("from-internal", "", 1),
            ("from-internal", "9", 2),
        ):
            call = freepbx.two_party_call(*dialogue(turn, 6 + turn), context=context, prefix=prefix)
            assert_both_heard(bridge, call.id, turn, 6 + turn)
            assert started_by(bridge, call.id) is None
        member = freepbx.two_party_call([(0.5, HANGUP)], [], context="from-queue", ring_s=0.1)
        wait_for(lambda: not freepbx.channels(), 5, lambda: freepbx.cli("core show channels"))
        assert bridge.events(call=member.id) == []
    wait_for(lambda: not freepbx.channels(), 5, lambda: freepbx.cli("core show channels"))


def test_over_ami_rules_choose_with_the_managers_file_alone(
    freepbx: Asterisk, emulator: EmulatorProcess, tmp_path: Path
) -> None:
    rules = [
        {"name": "main number", "match": {"did": "1588*"}},
        {"name": "sales", "match": {"queue": "sales"}},
        {"name": "internal", "match": {"context": "from-internal", "extension": "_XXXXXX"}},
    ]
    asterisk = {"via": "ami", "ari_url": "http://127.0.0.1:9/ari"}
    with BridgeProcess(freepbx, emulator, tmp_path, rules=rules, asterisk=asterisk) as bridge:
        incoming = freepbx.two_party_call(*dialogue(3, 9), context="from-trunk", prefix="1588")
        internal = freepbx.two_party_call(*dialogue(4, 10), context="from-internal")
        assert_both_heard(bridge, incoming.id, 3, 9)
        assert_both_heard(bridge, internal.id, 4, 10)
        queued = freepbx.two_party_call(
            [(3.0, "s0"), (8.0, HANGUP)], [(4.5, "s6")], context="from-internal", prefix="600"
        )
        assert_both_heard(bridge, queued.id, 0, 6)
        started = [started_by(bridge, call.id) for call in (incoming, internal, queued)]
        assert started == ["main number", "internal", "sales"]
