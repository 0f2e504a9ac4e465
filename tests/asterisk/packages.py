"""The project's pinned packages for the Python of the Debian system that holds Asterisk.

They are fetched and put there by the pip that runs this, which knows how to reach the package index; the
system itself needs neither pip nor certificates nor a configuration. Which system that is, and that it has
Python, belongs to install.py.
"""

import hashlib
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

REQUIREMENTS = Path(__file__).parents[2] / "requirements-dev.txt"
UNUSED = {"mypy", "ruff"}
"""Large, and no test runs them there."""
_KEEP = 3
_FACTS = """
import json, os, platform, sys
json.dump({
    "machine": platform.machine(),
    "glibc": os.confstr("CS_GNU_LIBC_VERSION").split()[1],
    "python_full_version": platform.python_version(),
    "python_version": "%d.%d" % sys.version_info[:2],
}, sys.stdout)
"""


def venv(root: Path) -> Path:
    """The virtual environment of these very requirements: others have other names, so none is ever stale."""
    digest = hashlib.sha256(REQUIREMENTS.read_bytes()).hexdigest()
    return root / "opt" / f"rtzr-bridge-{digest[:12]}"


def ready(root: Path) -> bool:
    """Whether they are there. The folder gets its name only when it is complete."""
    return venv(root).exists()


def install(root: Path) -> None:
    """Make the virtual environment. Raises subprocess.CalledProcessError when a step fails."""
    target = venv(root)
    partial = target.with_name(f"{target.name}.partial")
    if partial.exists():
        shutil.rmtree(partial)
    inside = f"/{partial.relative_to(root)}"
    facts = _facts(root)
    making = ["python3", "-m", "venv", "--without-pip", inside]
    subprocess.run(["chroot", str(root), *making], check=True)
    site_packages = partial / "lib" / f"python{facts['python_version']}" / "site-packages"
    _fetch(facts, site_packages)
    # As pip does it: compiled later, under -W error, a package's SyntaxWarning would be an error of ours.
    compiling = ["python3", "-m", "compileall", "-q", "-j", "0", inside]
    subprocess.run(["chroot", str(root), *compiling], check=False)
    partial.rename(target)
    _forget_old(target)


def _facts(root: Path) -> dict[str, str]:
    """What the system is, in the words of requirements' markers, with its machine and its glibc's version."""
    told = subprocess.run(["chroot", str(root), "python3", "-c", _FACTS], check=True, capture_output=True)
    facts: dict[str, str] = json.loads(told.stdout)
    return facts


def wanted(text: str, facts: dict[str, Any]) -> list[str]:
    """The lines of a requirements file that hold for a Linux with these facts, each with its hashes.

    pip itself would ask the markers of the Python that it runs on (`--python-version` changes the files
    that it chooses, not the markers).
    """
    from packaging.requirements import Requirement  # here, since the benchmarks come by without it

    lines = []
    for line in text.replace("\\\n", " ").splitlines():
        spec, *hashes = line.split(" --hash=")
        if spec.startswith("#"):
            continue
        requirement = Requirement(spec.strip())
        holds = requirement.marker is None or requirement.marker.evaluate(facts)
        if holds and requirement.name not in UNUSED:
            pinned = f"{requirement.name}{requirement.specifier}"
            lines.append(" --hash=".join([pinned, *(one.strip() for one in hashes)]))
    return lines


def _fetch(facts: dict[str, str], site_packages: Path) -> None:
    _, glibc = map(int, facts["glibc"].split("."))
    kinds = [*(f"manylinux_2_{minor}" for minor in range(glibc, 16, -1)), "manylinux2014", "linux"]
    options = ["--implementation", "cp", "--python-version", facts["python_version"]]
    options += ["--abi", "cp" + facts["python_version"].replace(".", "")]
    options += [f"--platform={kind}_{facts['machine']}" for kind in kinds]
    # Every version is pinned for all Pythons of the project; pip would compare them with its own Python.
    options += ["--no-deps", "--ignore-requires-python", "--only-binary=:all:", "--no-compile"]
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as requirements:
        requirements.write("\n".join(wanted(REQUIREMENTS.read_text(), facts)))
        requirements.flush()
        options += ["--require-hashes", "--requirement", requirements.name, "--target", str(site_packages)]
        pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
        subprocess.run([*pip, "install", *options], check=True)


def _forget_old(target: Path) -> None:
    """Remove what older requirements have left; the last few stay, for other checkouts of the project."""
    pattern = f"{target.name.rpartition('-')[0]}-*"
    every = sorted(target.parent.glob(pattern), key=lambda path: path.stat().st_mtime)
    for old in every[:-_KEEP]:
        shutil.rmtree(old, ignore_errors=True)
