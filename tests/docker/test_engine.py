"""On a real engine: both images are built, `docker/try.sh` has a call made, and its words come, in a real
browser too; and the .deb is installed on a Debian 12, whose systemd starts it, watches it and stops it.
"""

import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Page, expect

from bridge.emulator.codebook import SENTENCES
from bridge.serving import listener_at
from tests.asterisk.pbx import free_tcp_port
from tests.browser import chromium
from tests.browser.conftest import PICTURES
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


LINK = re.compile(r"(http://127\.0\.0\.1:\d+/)#/login/([\w-]+)$")
PATIENCE_MS = 40_000


@pytest.fixture
def page(chromium_installed: None) -> Iterator[Page]:
    with chromium.opened(PATIENCE_MS, viewport={"width": 1200, "height": 800}) as opened:
        yield opened


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


def test_a_call_rings_through_the_composition_and_is_read_on_the_page(docker: Engine, page: Page) -> None:
    for image in engine.IMAGES:
        docker.build(image)
        user = docker.inspect(image)["Config"]["User"]
        assert user not in ("", "root", "0")
    compose = compose_command(docker)
    docker.environ["RTZR_PAGE_PORT"] = str(free_tcp_port())
    try:
        printed, address, token = tried(docker, page)
        assert re.findall(r"\d\d:\d\d\.\d  (caller|callee)  (.+)", printed) == SAID
        assert said_on_the_page(address, token) == SAID
        container = docker.run(*compose, "ps", "--quiet", "bridge").strip()
        log = docker.run("docker", "logs", container)
        # The emulator shares its network, and so begins after it: one try to get a token may be too early.
        assert set(re.findall(r"\[(?:warning|error|critical) *\] (.+?)  ", log)) <= {"no token"}
        check = docker.inspect(container)["Config"]["Healthcheck"]["Test"]
        assert check[0] == "CMD"
        docker.run("docker", "exec", container, *check[1:])
        assert docker.run("docker", "exec", container, "id", "--user").strip() == "8787"
        docker.run(*compose, "stop", "bridge", timeout_s=90)
        assert docker.inspect(container)["State"]["ExitCode"] == 0
        with listener_at("127.0.0.1", 0) as taken:
            docker.environ["RTZR_PAGE_PORT"] = port = str(taken.getsockname()[1])
            printed = docker.run(str(FOLDER / "try.sh"), timeout_s=180, check=False)
        told = f"port {port} of 127.0.0.1 is taken; for another: RTZR_PAGE_PORT=8092 docker/try.sh"
        assert printed.splitlines()[-1] == told
    finally:
        docker.run(*compose, "down", "--timeout", "5", timeout_s=90, check=False)
        docker.run("docker", "image", "prune", "--force", check=False)


def tried(docker: Engine, page: Page) -> tuple[str, str, str]:
    """What docker/try.sh prints, the page's address and its token, after what is said was read there."""
    printed: list[str] = []
    with docker.start(str(FOLDER / "try.sh")) as trying:
        assert trying.stdout is not None
        try:
            for line in trying.stdout:
                printed.append(line)
                if (link := LINK.search(line)) is not None:
                    break
            else:
                pytest.fail("".join(printed))
            page.goto(link[0])
            first = page.locator(".card .said").filter(has_text=SENTENCES[0])
            expect(first).to_be_visible(timeout=PATIENCE_MS)
            PICTURES.mkdir(parents=True, exist_ok=True)
            page.screenshot(path=PICTURES / "docker.png")
            page.goto("about:blank")  # drawing takes time that the call needs
            printed.append(trying.communicate(timeout=120)[0])
        finally:
            trying.kill()
    assert trying.returncode == 0, "".join(printed)
    return "".join(printed), link[1], link[2]


def said_on_the_page(address: str, token: str) -> list[tuple[str, str]]:
    """Who said what in the one call that there was, as the page's own API tells it."""
    with httpx.Client(base_url=address, headers={"authorization": f"Bearer {token}"}) as client:
        assert httpx.get(f"{address}api/calls").status_code == 401
        (call,) = client.get("api/calls").json()["calls"]
        assert (call["state"], call["verdict"]) == ("ended", "complete")
        roles = {leg["leg"]: leg["role"] for leg in call["legs"]}
        timeline = client.get(f"api/calls/{call['id']}").json()["timeline"]
    return [
        (roles[one["leg"]], one["data"]["text"])
        for one in timeline
        if one["kind"] == "utterance" and "text" in one["data"]
    ]


BOOT = "mount --make-rshared / && exec /lib/systemd/systemd"
"""As systemd itself has it where it is no container's: it hands out credentials by a mount."""
SECRETS = (
    "umask 077; cd /etc/rtzr-bridge/secrets; "
    "for n in RTZR_CLIENT_ID RTZR_CLIENT_SECRET {}; do echo x > $n; done"
)
DROP_IN = (
    "d=/etc/systemd/system/rtzr-bridge.service.d; mkdir $d; "
    r"printf '[Service]\nWatchdogSec=3\n' > $d/short.conf"
)


def test_the_deb_installs_on_debian_12_and_its_service_is_watched(docker: Engine, tmp_path: Path) -> None:
    docker.build_debian()
    packages = engine.cache_dir().parent / "pip"  # fetched once
    build_deb = ["-v", f"{packages}:/root/.cache/pip", "-v", f"{ROOT}:/src:ro", "-v", f"{tmp_path}:/deb"]
    build_deb.append(engine.DEBIAN)
    docker.run("docker", "run", "--rm", *build_deb, "/src/config/debian/build", "/deb", timeout_s=300)
    (deb,) = tmp_path.glob("*.deb")
    with booted(docker, tmp_path) as inside:
        inside(
            f"DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends /deb/{deb.name}"
        )
        inside(SECRETS.format("") + f"; {DROP_IN}; systemctl daemon-reload; ! systemctl start rtzr-bridge")
        assert "ARI_PASSWORD_FILE: " in inside("journalctl --unit rtzr-bridge --output cat --no-pager")
        assert show(inside, "ExecMainStatus") == "2"  # for an administrator to mend: not started again
        inside(SECRETS.format("ARI_PASSWORD") + "; systemctl start rtzr-bridge")
        wait_for(lambda: "the PBX is not connected" in show(inside, "StatusText"))
        inside("/usr/lib/rtzr-bridge/bin/python3 -m bridge.admin.alive /run/rtzr-bridge/admin.sock")
        assert inside("stat --format %U /var/lib/rtzr-bridge/outbox.db").strip() == "rtzr-bridge"
        inside(f"kill -STOP {show(inside, 'MainPID')}")
        wait_for(lambda: show(inside, "NRestarts") == "1" and show(inside, "ActiveState") == "active")
        inside("systemctl stop rtzr-bridge")
        assert show(inside, "Result") == "success"
        inside("systemd-analyze verify rtzr-bridge.service")
        inside("systemd-analyze security --no-pager --threshold=20 rtzr-bridge.service")
        inside("apt-get purge --yes rtzr-bridge")
        inside(
            "! test -e /etc/rtzr-bridge && ! test -e /usr/lib/rtzr-bridge && ! test -e /var/lib/rtzr-bridge"
        )


@contextmanager
def booted(docker: Engine, debs: Path) -> Iterator[Callable[[str], str]]:
    """A Debian 12 with its systemd, and what runs a shell's line in it."""
    groups = Path("/sys/fs/cgroup/systemd")  # of cgroups of both versions at once
    mounted = groups if groups.exists() else groups.parent
    options = ["--cap-add", "SYS_ADMIN", "--security-opt", "seccomp=unconfined", "--env", "container=docker"]
    options += ["--security-opt", "apparmor=unconfined", "--cgroupns", "private", "--tmpfs", "/run"]
    options += ["-v", f"{mounted}:{mounted}:rw", "-v", f"{debs}:/deb:ro", engine.DEBIAN]
    container = docker.run("docker", "run", "--detach", *options, "sh", "-c", BOOT).strip()

    def inside(line: str) -> str:
        return docker.run("docker", "exec", container, "sh", "-c", line, timeout_s=90)

    try:
        state = ["docker", "exec", container, "systemctl", "is-system-running"]
        wait_for(lambda: docker.run(*state, check=False).strip() in ("running", "degraded"))
        yield inside
    finally:
        docker.run("docker", "rm", "--force", "--volumes", container)


def show(inside: Callable[[str], str], what: str) -> str:
    return inside(f"systemctl show --value --property {what} rtzr-bridge").strip()


def wait_for(condition: Callable[[], bool]) -> None:
    ends = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < ends
        time.sleep(0.2)


def compose_command(docker: Engine) -> list[str]:
    """The one that is here, as docker/try.sh finds it."""
    version = docker.run("docker", "compose", "version", check=False)
    command = ["docker", "compose"] if "Compose" in version else ["docker-compose"]
    return [*command, "--file", str(FOLDER / "compose.yaml")]
