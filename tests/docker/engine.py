"""A Docker engine of the tests' own: Debian's dockerd on a socket of its own, with the images of FROM lines.

Nothing is pulled: what docker/ builds upon is made here by debootstrap and imported under the names that the
Dockerfiles have. What is built stays in the cache folder, so that the next run builds what has changed. The
first one takes minutes more and 1.2 GB: `make test` has it made beside what else it installs
(`python -m tests.docker.engine`). Everything blocks.
"""

# ruff: noqa: T201 (a command whose output is for a person)

import fcntl
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.asterisk import install
from tests.debian import apt_get_install

PACKAGES = {"dockerd": "docker.io", "docker-compose": "docker-compose", "debootstrap": "debootstrap"}
"""Command that must exist: Debian package that brings it."""
BASES = {
    "debian:forky-slim": ("forky", ""),
    "python:3.11-slim-bookworm": ("bookworm", "ca-certificates,python3,python3-venv"),
}
"""The image that a Dockerfile's FROM names: the suite that stands in for it, and what that needs more."""
IMAGES = {"rtzr-bridge": "docker/Dockerfile", "rtzr-bridge-asterisk": "docker/asterisk/Dockerfile"}
"""What is built of this tree, by which file."""
DEBIAN = "rtzr-bridge-debian"
"""A Debian 12 with a systemd, for the .deb."""
_DEBIAN = """
FROM python:3.11-slim-bookworm
ENV DEBIAN_FRONTEND=noninteractive
RUN apt-get update && apt-get install --yes --no-install-recommends systemd dbus
"""
ROOT = Path(__file__).parent.parent.parent
START_S = 60.0
_BUILD_S = 400.0
_SYSTEM_SOCKET = Path("/run/docker.sock")
_CA_FILES = ("PIP_CERT", "SSL_CERT_FILE")
_INSIDE = "usr/local/share/rtzr-bridge-tests/ca.pem"
_spawner = ThreadPoolExecutor(max_workers=1)
"""`--pdeathsig` strikes when the thread that started the process ends, so that must be one that stays."""


def cache_dir() -> Path:
    """The folder of the engine's images."""
    return install.root_dir().parent / "docker"


def ready() -> bool:
    """Whether what it needs is installed."""
    return all(shutil.which(name) for name in PACKAGES)


def why_not() -> str:
    """Why no engine can run here; empty when one can."""
    if os.geteuid() != 0:
        return "not root: an engine of the tests' own is for root"
    if not ready() and shutil.which("apt-get") is None:
        return "no apt-get: install docker.io, docker-compose and debootstrap by hand"
    if _SYSTEM_SOCKET.exists() and _answers(f"unix://{_SYSTEM_SOCKET}"):
        return "an engine runs here already, and two would share one firewall"
    return ""


def provide() -> None:
    """Install what is missing. One process at a time; raises CalledProcessError when a step fails."""
    cache_dir().mkdir(parents=True, exist_ok=True)
    with (cache_dir().parent / "docker.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        missing = [package for name, package in PACKAGES.items() if shutil.which(name) is None]
        if not missing:
            return
        apt_get_install(*missing, "debian-archive-keyring", "iptables")


def _answers(host: str) -> bool:
    command = ["docker", "--host", host, "version"]
    return subprocess.run(command, check=False, capture_output=True, timeout=30).returncode == 0


class Engine:
    """One for this run, with the images of `BASES`; all of its containers end with it."""

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="rtzr-docker-"))
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = (cache_dir().parent / "docker.lock").open("w")
        self.environ = {**os.environ, "DOCKER_HOST": f"unix://{self._folder}/docker.sock"}
        """For commands that talk to it; classic builder, as Debian has no other."""
        self.environ["DOCKER_BUILDKIT"] = "0"

    def __enter__(self) -> Self:
        fcntl.flock(self._lock, fcntl.LOCK_EX)  # one engine has the images at a time
        with (self._folder / "log").open("wb") as log:
            self._process = _spawner.submit(
                subprocess.Popen, self._command(), stdin=subprocess.DEVNULL, stdout=log, stderr=log
            ).result()
        try:
            self._wait()
            with ThreadPoolExecutor() as pool:  # much of their time they wait for packages
                list(pool.map(self._provide_base, BASES))
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _command(self) -> list[str]:
        return [
            *("setpriv", "--pdeathsig", "TERM", "dockerd", f"--data-root={cache_dir()}"),
            *(f"--exec-root={self._folder}/run", f"--pidfile={self._folder}/pid"),
            *(f"--host={self.environ['DOCKER_HOST']}", "--shutdown-timeout=5"),
        ]

    def _wait(self) -> None:
        ends = time.monotonic() + START_S
        while not _answers(self.environ["DOCKER_HOST"]):
            assert self._process is not None
            over = self._process.poll() is not None or time.monotonic() > ends
            assert not over, f"no engine:\n{(self._folder / 'log').read_text()[-3000:]}"
            time.sleep(0.1)

    def close(self) -> None:
        """End it and what runs on it."""
        if self._process is not None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(30)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None
        self._lock.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def run(self, *command: str, timeout_s: float = 60, check: bool = True) -> str:
        """The output of a command that talks to the engine. AssertionError with it where it fails."""
        done = subprocess.run(
            command,
            env=self.environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=timeout_s,
            check=False,
        )
        text = done.stdout.decode(errors="replace")
        assert not check or done.returncode == 0, f"{' '.join(command)}: {done.returncode}\n{text[-3000:]}"
        return text

    def start(self, *command: str) -> subprocess.Popen[str]:
        """A command that talks to the engine and prints meanwhile."""
        return subprocess.Popen(
            command,
            env=self.environ,
            text=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )

    def inspect(self, what: str) -> dict[str, Any]:
        """What the engine knows of an image or a container."""
        (found,) = json.loads(self.run("docker", "inspect", what))
        return dict(found)

    def build(self, image: str) -> None:
        """Every stage keeps its name, so that none is built again for nothing."""
        file = ROOT / IMAGES[image]
        options = ["docker", "build", "--file", str(file)]
        for stage in re.findall(r"^FROM \S+ AS (\w+)$", file.read_text(), re.MULTILINE):
            named = ["--target", stage, "--tag", f"{image}-{stage}"]
            self.run(*options, *named, str(ROOT), timeout_s=_BUILD_S)
        self.run(*options, "--tag", image, str(ROOT), timeout_s=_BUILD_S)

    def build_debian(self) -> None:
        """The image that is called `DEBIAN`."""
        folder = self._folder / DEBIAN
        folder.mkdir(exist_ok=True)
        (folder / "Dockerfile").write_text(_DEBIAN)
        self.run("docker", "build", "--tag", DEBIAN, str(folder), timeout_s=_BUILD_S)

    def _provide_base(self, image: str) -> None:
        """Make the image, if the one that is there was made otherwise."""
        suite, more = BASES[image]
        mark = hashlib.sha256(f"{suite} {more} {_certificates()!r}".encode()).hexdigest()[:16]
        made = self.run("docker", "images", "--quiet", "--filter", f"label=made={mark}", image)
        if made.strip():
            return
        with tempfile.TemporaryDirectory(dir=self._folder, prefix="base-") as folder:
            root = Path(folder)
            _bootstrap(root, suite, more)
            changes = [f"--change=LABEL made={mark}"]
            if (certificates := _certificates()) is not None:
                (root / _INSIDE).parent.mkdir(parents=True)
                (root / _INSIDE).write_bytes(certificates)
                changes.append(f"--change=ENV PIP_CERT=/{_INSIDE}")
            packing = f'tar -C "$0" -c . | docker import {" ".join(repr(one) for one in changes)} - "$1"'
            self.run("sh", "-c", packing, folder, image, timeout_s=120)


def _certificates() -> bytes | None:
    """What this machine trusts, where that is said apart: a mirror of packages may need it."""
    named = [os.environ[name] for name in _CA_FILES if name in os.environ]
    return Path(named[0]).read_bytes() if named else None


def _bootstrap(root: Path, suite: str, more: str) -> None:
    """A Debian in `root`: as `install` makes one, without waiting for the disk at each package."""
    install.know_suite(suite)
    options = ["--variant=minbase", f"--keyring={install.KEYRING}", *([f"--include={more}"] if more else [])]
    mirror = os.environ.get("DEBIAN_MIRROR")
    subprocess.run(
        ["debootstrap", *options, suite, str(root), *([mirror] if mirror else [])],
        env={**os.environ, "DPKG_FORCE": "unsafe-io"},
        stdout=subprocess.DEVNULL,
        check=True,
    )
    (root / "etc/dpkg/dpkg.cfg.d/tests").write_text("force-unsafe-io\n")
    # Lists that have expired are taken, as debootstrap takes them: what is signed stays so.
    (root / "etc/apt/apt.conf.d/90tests").write_text('Acquire::Check-Valid-Until "false";\n')
    shutil.rmtree(root / "var/cache/apt/archives", ignore_errors=True)
    if more:
        (root / "usr/bin/python").symlink_to("python3")  # as in the image of that name


def _mark() -> str:
    """What changes when the images are to be made anew; what changes often is built quickly."""
    files = [ROOT / file for file in (*IMAGES.values(), "requirements.txt")]
    parts = [_certificates(), _DEBIAN.encode(), repr(BASES).encode(), *(file.read_bytes() for file in files)]
    return hashlib.sha256(b"\0".join(part or b"" for part in parts)).hexdigest()


def prepare() -> None:
    """Make all images, unless they are there; as `provide`, of which it is the longer part."""
    made = cache_dir().parent / "docker.made"
    if made.exists() and made.read_text() == _mark():
        return
    print("making the Docker images for the tests (minutes, 1.2 GB)", flush=True)
    with Engine() as running, ThreadPoolExecutor() as pool:
        works = [pool.submit(running.build, image) for image in IMAGES]
        works.append(pool.submit(running.build_debian))
        for work in works:
            work.result()
    made.write_text(_mark())


def main() -> int:
    """`packages`: only what apt-get has to bring, which two cannot do at a time."""
    if reason := why_not():
        print(f"Docker images for the tests are not made: {reason}", file=sys.stderr)
        return 1 if os.environ.get("CI") else 0
    provide()
    if sys.argv[1:] != ["packages"]:
        prepare()
    return 0


if __name__ == "__main__":
    sys.exit(main())
