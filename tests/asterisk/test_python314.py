"""The daemon on the Python that Asterisk's own Debian comes with: 3.14, without an `audioop` of its own."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bridge.emulator.codebook import SENTENCES
from tests.asterisk.daemon import BridgeProcess, EmulatorProcess
from tests.asterisk.image_python import ImagePython
from tests.asterisk.packages import REQUIREMENTS, wanted
from tests.asterisk.pbx import HANGUP, Asterisk, Script, free_tcp_port, wait_for
from tests.asterisk.test_calls import dialogue, prompts
from tests.asterisk.test_stasis import assert_said
from tests.asterisk.test_taps import assert_heard, tapped

NOBODY = "http://127.0.0.1:9/ari"
VIAS = [
    pytest.param({"asterisk": {"via": "ari", "ami_port": 9}}, id="ari"),
    pytest.param({"asterisk": {"via": "ami", "ari_url": NOBODY}}, id="ami"),
]
"""Changes to the configuration: one for each way to the PBX, with nobody at the address of the others."""

UNITS = [
    *("tests/net/test_ami.py", "tests/net/test_manager.py", "tests/wire/test_ami.py"),
    *("tests/wire/test_g711.py", "tests/wire/test_gate.py", "tests/emulator/test_decoder.py"),
]
"""What differs most on that Python: panoramisk, whose last release is of 2021, and audioop."""

_TELL = """
import audioop, sys, sysconfig
print(*sys.version_info[:2], audioop.__file__.startswith(sysconfig.get_path("purelib")))
"""


@pytest.fixture(scope="module")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmulatorProcess]:
    with EmulatorProcess(tmp_path_factory.mktemp("emulator"), "--recognition-ms", "100") as running:
        yield running


def test_it_is_the_python_that_is_meant(image_python: ImagePython) -> None:
    assert image_python.run("-c", _TELL).stdout.split() == ["3", "14", "True"]


@pytest.mark.parametrize("changes", VIAS)
def test_a_call_is_heard_word_for_word(
    pbx: Asterisk,
    emulator: EmulatorProcess,
    image_python: ImagePython,
    tmp_path: Path,
    changes: dict[str, Any],
) -> None:
    prompts(pbx)
    with BridgeProcess(pbx, emulator, tmp_path, python=image_python, **changes) as bridge:
        call = pbx.two_party_call(*dialogue(0, 6))
        ended = bridge.wait_for_end(call.id, 40)
        assert bridge.finals(call.id, "caller") == [SENTENCES[0]], bridge.told()
        assert bridge.finals(call.id, "callee") == [SENTENCES[6]], bridge.told()
        assert (ended["verdict"], ended["ledger"]["lost_ms"]) == ("complete", 0)
        wait_for(lambda: not pbx.channels(), 5, lambda: pbx.cli("core show channels"))
        assert bridge.terminate() == 0
        assert '"level": "error"' not in bridge.printed()
        assert "Traceback" not in bridge.printed()


@pytest.mark.parametrize(
    ("tap", "transport"),
    [("chanspy", "audiosocket"), ("snoop", "websocket"), ("external", "websocket_client")],
    ids=["audiosocket", "websocket", "websocket_client"],
)
def test_every_tap_and_transport_holds(
    pbx: Asterisk,
    emulator: EmulatorProcess,
    image_python: ImagePython,
    tmp_path: Path,
    tap: str,
    transport: str,
) -> None:
    """RTP is above. Beside a call of two, one that stays and, over AudioSocket, one that comes by itself."""
    port = free_tcp_port()
    pbx.ari("POST", "asterisk/variable", variable="AUDIOSOCKET_AT", value=f"127.0.0.1:{port}")
    media = {"audiosocket_port": port, "audiosocket_calls": True}
    with tapped(pbx, emulator, tmp_path, tap, transport, python=image_python, media=media) as bridge:
        script: Script = [(0.8, "s1"), (0.3, HANGUP)]
        alone = [pbx.two_party_call(script, [], context=context) for context in ("stay", "visit")]
        call = pbx.two_party_call([(0.8, "s0"), (2.0, HANGUP)], [(0.8, "s6")], ring_s=0.3)
        assert_heard(bridge, call, 0, 6)
        for one in alone:
            assert_said(bridge, one, 1)
        wait_for(lambda: not pbx.channels(), 5, lambda: pbx.cli("core show channels"))
        assert bridge.terminate() == 0
        assert '"level": "error"' not in bridge.printed()
        assert "Traceback" not in bridge.printed()


def test_a_killed_bridge_is_really_gone(
    pbx: Asterisk, emulator: EmulatorProcess, image_python: ImagePython, tmp_path: Path
) -> None:
    """No shell or chroot in between takes the signal, which other tests of it would build on."""
    with BridgeProcess(pbx, emulator, tmp_path, python=image_python) as bridge:
        assert "rtzr-bridge" in pbx.cli("ari show apps")
        bridge.kill()
        wait_for(lambda: "rtzr-bridge" not in pbx.cli("ari show apps"), 5, bridge.printed)


def test_the_units_hold(image_python: ImagePython) -> None:
    done = image_python.run("-X", "dev", "-m", "pytest", "-p", "no:cacheprovider", *UNITS, SCALE="0.1")
    assert done.returncode == 0, done.stdout


def test_requirements_are_chosen_for_that_python() -> None:
    text = REQUIREMENTS.read_text(encoding="utf-8")
    old, new = (
        {line.split("==")[0]: line for line in wanted(text, {"python_full_version": version})}
        for version in ("3.11.7", "3.14.2")
    )
    assert new.keys() - old.keys() == {"audioop-lts"}
    assert old["numpy"] != new["numpy"]
    assert "colorama" not in new
    assert all(" --hash=sha256:" in line for line in new.values())
