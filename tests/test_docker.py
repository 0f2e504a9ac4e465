"""docker/: what can be told without an engine: files parse, name what is there, and configure the bridge."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from bridge import credentials
from bridge.config import Config, load
from bridge.emulator.codebook import GAP_MS, HIGH_HZ, LOW_HZ, WORD_MS, WORDS, spoken_ms

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / "docker"


def services(name: str) -> dict[str, dict[str, Any]]:
    """Of a composition."""
    return dict(yaml.safe_load((FOLDER / name).read_text())["services"])


SERVICES = services("compose.pbx.yaml")
BRIDGES = {"asterisk": "ARI_PASSWORD", "freeswitch": "ESL_PASSWORD"}
"""By profile, the secret of its PBX."""


def test_what_the_image_is_built_from_is_there_and_reaches_the_engine() -> None:
    files = ("Dockerfile", "asterisk/Dockerfile")
    lines = [line for file in files for line in (FOLDER / file).read_text().splitlines()]
    copied = [
        name
        for line in lines
        if line.startswith("COPY ") and "--from=" not in line
        for name in line.split()[1:-1]
    ]
    assert {"bridge", "requirements.txt", "pyproject.toml"} <= set(copied)
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    for name in copied:
        assert (ROOT / name).exists()
        assert {f"!{name}", f"!{Path(name).parent}"} & set(ignored)


def test_the_image_installs_what_is_pinned_and_runs_as_nobody_s_root() -> None:
    text = (FOLDER / "Dockerfile").read_text()
    assert "--require-hashes --requirement requirements.txt" in text
    assert re.search(r"^USER (?!root|0)", text, re.MULTILINE)
    assert not re.search(r"https?://|--index-url|--trusted-host", text)


def test_each_service_is_of_the_image_and_the_emulator_of_every_profile() -> None:
    assert {service["image"] for service in SERVICES.values()} == {"rtzr-bridge"}
    build = SERVICES["emulator"]["build"]
    assert ((FOLDER / build["context"]) / build["dockerfile"]).is_file()
    assert "profiles" not in SERVICES["emulator"]


@pytest.mark.parametrize(("pbx", "secret"), BRIDGES.items())
def test_each_profile_has_a_bridge_with_a_configuration_that_loads(pbx: str, secret: str) -> None:
    service = SERVICES[f"bridge-{pbx}"]
    assert service["profiles"] == [pbx]
    file, inside, _ = service["volumes"][0].split(":")
    assert inside == "/etc/rtzr-bridge/bridge.yaml"
    given = {name: re.sub(r"\$\{\w+:-(.*)\}", r"\1", value) for name, value in service["environment"].items()}
    config = load(FOLDER / file, given)
    assert config.pbx == pbx
    assert secret in given
    assert config.rtzr.auth_url.startswith("http://127.0.0.1:8600/")


def test_the_composition_has_a_configuration_that_loads_and_that_asterisk_fits() -> None:
    composed = services("compose.yaml")
    assert composed.keys() == {"asterisk", "bridge", "emulator"}
    assert composed["emulator"]["network_mode"] == "service:bridge"  # plain HTTP is for loopback alone
    secrets = {"RTZR_CLIENT_ID": "demo", "RTZR_CLIENT_SECRET": "demo-secret"}
    environment = composed["bridge"]["environment"]
    given = secrets | {"ARI_PASSWORD": environment["ARI_PASSWORD"]}
    given["RTZR_PAGE_TOKEN"] = re.sub(r"\$\{\w+:-(.*)\}", r"\1", environment["RTZR_PAGE_TOKEN"])
    assert f"password = {given['ARI_PASSWORD']}" in (ROOT / "dialplan/asterisk/ari.conf").read_text()
    config = load(FOLDER / "bridge.yaml", given)
    assert config.asterisk.ari_url == "http://asterisk:8088/ari"
    assert config.media.advertised == "bridge"
    assert (config.page.bind, config.page.port) == ("0.0.0.0", 8091)
    assert composed["bridge"]["ports"] == ["127.0.0.1:${RTZR_PAGE_PORT:-8091}:8091"]  # for this machine alone
    assert f"RTZR_PAGE_TOKEN:-{given['RTZR_PAGE_TOKEN']}" in (FOLDER / "try.sh").read_text()
    assert config.admin.socket is not None
    assert config.admin.socket in (FOLDER / "Dockerfile").read_text()
    first, last = config.asterisk.rtp_range or (0, 0)
    assert f"rtpstart = {first}\nrtpend = {last}\n" in (FOLDER / "asterisk/etc/rtp.conf").read_text()
    for name in ("compose.yaml", "compose.pbx.yaml"):  # what both generations of compose know
        assert yaml.safe_load((FOLDER / name).read_text()).keys() == {"services"}


def test_the_telephones_of_the_composition_say_what_their_comments_say() -> None:
    text = (FOLDER / "asterisk/etc/extensions.conf").read_text()
    found = re.findall(r"^; (.+)\n(CALLE[RE]_\d) = (.+)\n\2_S = (.+)$", text, re.MULTILINE)
    assert len(found) == 6
    for said, _, tones, seconds in found:
        pairs = [divmod(WORDS.index(word), len(HIGH_HZ)) for word in said.split()]
        words = [f"!{LOW_HZ[low]}+{HIGH_HZ[high]}/{WORD_MS}" for low, high in pairs]
        assert tones == f",!0/{GAP_MS},".join(words)
        assert float(seconds) * 1000 >= spoken_ms(said)


def test_the_unit_outlasts_the_drain_and_names_every_secret() -> None:
    text = (ROOT / "config/systemd/rtzr-bridge.service").read_text()
    (patience,) = re.findall(r"^TimeoutStopSec=(\d+)$", text, re.MULTILINE)
    assert int(patience) >= Config().drain_s + 20 + 15
    for variable in credentials.VARIABLES.values():
        assert f"Environment={variable}_FILE=%d/secret_{variable}\n" in text
    assert "Type=notify\n" in text
    given = dict.fromkeys(credentials.VARIABLES.values(), "x")
    config = load(ROOT / "config/debian/bridge.yaml", given)
    assert not config.sinks.console.enabled
    assert config.admin.socket == "/run/rtzr-bridge/admin.sock"


def test_the_configuration_that_freeswitch_md_shows_loads(tmp_path: Path) -> None:
    text = (ROOT / "docs" / "freeswitch.md").read_text()
    block = re.search(r"```yaml\n(   pbx: freeswitch\n.*?)```", text, re.DOTALL)
    assert block is not None
    shown = "\n".join(line.removeprefix("   ") for line in block[1].splitlines())
    file = tmp_path / "bridge.yaml"
    secrets = dict.fromkeys(("RTZR_CLIENT_ID", "RTZR_CLIENT_SECRET", "ESL_PASSWORD"), "secret")
    for each in (shown, shown.replace("\n# f", "\nf").replace("\n# m", "\nm")):
        file.write_text(each)
        config = load(file, secrets)
        assert (config.pbx, config.rules[0].name) == ("freeswitch", "all")
    assert config.media.advertised == "192.0.2.20"
