"""docker/: what can be told without an engine: files parse, name what is there, and configure the bridge."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from bridge.config import load

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / "docker"
SERVICES: dict[str, dict[str, Any]] = yaml.safe_load((FOLDER / "compose.yaml").read_text())["services"]
BRIDGES = {"asterisk": "ARI_PASSWORD", "freeswitch": "ESL_PASSWORD"}
"""By profile, the secret of its PBX."""


def test_what_the_image_is_built_from_is_there_and_reaches_the_engine() -> None:
    lines = (FOLDER / "Dockerfile").read_text().splitlines()
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
        assert f"!{name}" in ignored


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
