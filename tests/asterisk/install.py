"""Installs a real Asterisk 22 for the tests: Debian forky in a cache folder, entered by chroot.

`make test` runs it (`python -m tests.asterisk.install`). It says what it installs. As root on Debian or a
descendant it works from nothing; elsewhere it says why not and leaves it to the tests to skip or fail. The
suite's own Python comes with it, and the project's packages for that one (packages.py). How Asterisk is
configured and started belongs to pbx.py.
"""

# ruff: noqa: T201 (a command whose output is for a person)

import fcntl
import os
import shutil
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from tests.asterisk import packages

PACKAGES = {"debootstrap": "debootstrap", "sipp": "sip-tester"}
"""Command that must exist: Debian package that brings it."""
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
SCRIPTS = Path("/usr/share/debootstrap/scripts")
SUITE = "forky"


def root_dir() -> Path:
    """The folder that holds (or will hold) the Debian system with Asterisk in it."""
    cache = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(cache) / "rtzr-bridge" / f"asterisk-{SUITE}"


def ready() -> bool:
    """Whether Asterisk is installed. The folder gets its name only when its installation is complete."""
    return (root_dir() / "usr/sbin/asterisk").exists() and all(shutil.which(name) for name in PACKAGES)


def python_ready() -> bool:
    """Whether the suite's Python is there too, with the project's packages of today."""
    return packages.ready(root_dir())


def why_not() -> str:
    """Why this machine cannot install Asterisk by itself; empty when it can."""
    if os.geteuid() != 0:
        return "not root: the tests against a real Asterisk need root on Debian (chroot, debootstrap)"
    if shutil.which("apt-get") is None:
        return "no apt-get: the tests against a real Asterisk need Debian or a descendant"
    return ""


def _run(*command: str) -> None:
    print("+", " ".join(command), flush=True)
    subprocess.run(command, check=True, env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"})


def _install_packages(bootstrapping: bool) -> None:
    missing = [package for name, package in PACKAGES.items() if shutil.which(name) is None]
    if bootstrapping:
        missing.append("debian-archive-keyring")  # absent on Ubuntu; an old one does not know the suite's key
    if missing:
        print(f"installing Debian packages for the tests: {', '.join(missing)}", flush=True)
        _run("apt-get", "update", "-q")
        _run("apt-get", "install", "-q", "-y", "--no-install-recommends", *missing)


def know_suite(suite: str = SUITE) -> None:
    """An older debootstrap has no script for the suite; every Debian suite's is the same one."""
    script = SCRIPTS / suite
    if not script.exists():
        script.unlink(missing_ok=True)
        with suppress(FileExistsError):  # another process knows it by now
            script.symlink_to("sid")


def _remove(folder: Path) -> None:
    """Remove a half-finished installation, unmounting first what debootstrap may have left mounted in it."""
    mounts = [line.split()[1] for line in Path("/proc/self/mounts").read_text().splitlines()]
    for mount in sorted((m for m in mounts if m.startswith(f"{folder}/")), reverse=True):
        _run("umount", mount)
    if folder.exists():
        shutil.rmtree(folder)


def _bootstrap(target: Path) -> None:
    """Install into a folder of another name, renamed at the end: a half-finished one is never used."""
    partial = target.with_name(f"{target.name}.partial")
    _remove(partial)
    _remove(target)
    print(f"installing Asterisk from Debian {SUITE} into {target} (about a minute, 500 MB)", flush=True)
    options = ["--variant=minbase", "--include=ca-certificates,asterisk,python3", f"--keyring={KEYRING}"]
    mirror = os.environ.get("DEBIAN_MIRROR")
    _run("debootstrap", *options, SUITE, str(partial), *([mirror] if mirror else []))
    _run("chroot", str(partial), "asterisk", "-V")
    shutil.rmtree(partial / "var/cache/apt/archives", ignore_errors=True)
    partial.rename(target)


def _add_python(target: Path) -> None:
    """Python for a folder that was made without it, from the lists of the debootstrap that made it.

    Lists that have expired are taken: debootstrap takes them too, and what is signed stays so.
    """
    print(f"installing Debian {SUITE}'s python3 into {target}", flush=True)
    shutil.copyfile("/etc/resolv.conf", target / "etc/resolv.conf")
    _run("chroot", str(target), "dpkg", "--configure", "-a")  # were it broken off the last time
    _run("chroot", str(target), "apt-get", "-o", "Acquire::Check-Valid-Until=false", "update", "-q")
    _run("chroot", str(target), "apt-get", "install", "-q", "-y", "--no-install-recommends", "python3")
    _run("chroot", str(target), "apt-get", "clean")


def _install_asterisk(target: Path) -> None:
    bootstrapping = not (target / "usr/sbin/asterisk").exists()
    _install_packages(bootstrapping)
    if bootstrapping:
        know_suite()
        _bootstrap(target)


def _install_python(target: Path) -> None:
    command = ["chroot", str(target), "python3", "-c", "import venv"]
    works = subprocess.run(command, check=False, capture_output=True)
    if works.returncode != 0:
        _add_python(target)
    print(f"installing the project's packages for its python3 into {packages.venv(target)}", flush=True)
    packages.install(target)


def install() -> None:
    """Bring what is missing. One process at a time; raises CalledProcessError when a step fails."""
    target = root_dir()
    target.parent.mkdir(parents=True, exist_ok=True)
    with (target.parent / "install.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not ready():
            _install_asterisk(target)
        if not python_ready():
            _install_python(target)


def main() -> int:
    if ready() and python_ready():
        return 0
    if reason := why_not():
        print(f"Asterisk for the tests is not installed: {reason}", file=sys.stderr)
        return 1 if os.environ.get("CI") else 0
    install()
    return 0


if __name__ == "__main__":
    sys.exit(main())
