"""docker/ on a real engine: both images are built, `docker/try.sh` has a call made, and its words come."""

import os
import re
from collections.abc import Iterator

import pytest

from bridge.emulator.codebook import SENTENCES
from tests.docker import engine
from tests.docker.engine import Engine
from tests.test_docker import FOLDER, ROOT

pytestmark = pytest.mark.timeout(600)  # the first run makes base images, and has them fill with packages

PROJECT = "rtzr-bridge-tests"
SAID = [
    ("caller", SENTENCES[1]),
    ("callee", SENTENCES[0]),
    ("caller", SENTENCES[2]),
    ("callee", SENTENCES[3]),
    ("caller", SENTENCES[21]),
    ("callee", SENTENCES[23]),
]


@pytest.fixture(scope="module")
def docker() -> Iterator[Engine]:
    """With CI set its absence is a failure, elsewhere a loud skip."""
    if reason := engine.why_not():
        if os.environ.get("CI"):
            pytest.fail(f"real Docker missing: {reason}", pytrace=False)
        pytest.skip(f"REAL DOCKER NOT TESTED: {reason}")
    engine.provide()
    with Engine() as running:
        running.environ["COMPOSE_PROJECT_NAME"] = PROJECT
        yield running


def test_a_call_rings_through_the_composition_and_comes_out_as_text(docker: Engine) -> None:
    build(docker, "docker/Dockerfile", "rtzr-bridge")
    build(docker, "docker/asterisk/Dockerfile", "rtzr-bridge-asterisk")
    compose = compose_command(docker)
    try:
        printed = docker.run(str(FOLDER / "try.sh"), timeout_s=180)
        assert re.findall(r"\d\d:\d\d\.\d  (caller|callee)  (.+)", printed) == SAID
        container = docker.run(*compose, "ps", "--quiet", "bridge").strip()
        check = docker.inspect(container)["Config"]["Healthcheck"]["Test"]
        assert check[0] == "CMD"
        docker.run("docker", "exec", container, *check[1:])
        assert docker.run("docker", "exec", container, "id", "--user").strip() == "8787"
        docker.run(*compose, "stop", "bridge", timeout_s=90)
        assert docker.inspect(container)["State"]["ExitCode"] == 0
    finally:
        docker.run(*compose, "down", "--timeout", "5", timeout_s=90, check=False)
        docker.run("docker", "image", "prune", "--force", check=False)


def compose_command(docker: Engine) -> list[str]:
    """The one that is here, as docker/try.sh finds it."""
    version = docker.run("docker", "compose", "version", check=False)
    command = ["docker", "compose"] if "Compose" in version else ["docker-compose"]
    return [*command, "--file", str(FOLDER / "compose.yaml")]


def build(docker: Engine, file: str, image: str) -> None:
    """Every stage keeps its name, so that none is built again for nothing."""
    stages = re.findall(r"^FROM \S+ AS (\w+)$", (ROOT / file).read_text(), re.MULTILINE)
    options = ["docker", "build", "--file", str(ROOT / file)]
    for stage in stages:
        docker.run(*options, "--target", stage, "--tag", f"{image}-{stage}", str(ROOT), timeout_s=400)
    docker.run(*options, "--tag", image, str(ROOT), timeout_s=400)
    user = docker.inspect(image)["Config"]["User"]
    assert user
    assert user not in ("root", "0")
