"""tests/conftest.py: a skip passes on a developer's machine and fails in CI."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
CONFTEST = ROOT / "tests" / "conftest.py"
FILES = {
    "test_call.py": "import pytest\ndef test_call(): pytest.skip('no Asterisk')\n",
    "test_mark.py": "import pytest\n@pytest.mark.skip(reason='no sipp')\ndef test_mark(): pass\n",
    "test_module.py": "import pytest\npytest.skip('no browser', allow_module_level=True)\n",
    "test_xfail.py": "import pytest\n@pytest.mark.xfail(strict=True)\ndef test_xfail(): assert False\n",
}


def run(folder: Path, ci: str) -> subprocess.CompletedProcess[str]:
    (folder / "conftest.py").write_text(CONFTEST.read_text())
    for name, text in FILES.items():
        (folder / name).write_text(text)
    options = ["-p", "no:cacheprovider", "-c", os.devnull, "--continue-on-collection-errors"]
    command = [sys.executable, "-m", "pytest", *options, str(folder)]
    environ = {**os.environ, "CI": ci, "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, env=environ, cwd=folder, capture_output=True, text=True, check=False)


def test_a_skip_passes_without_ci(tmp_path: Path) -> None:
    done = run(tmp_path, ci="")
    assert done.returncode == 0, done.stdout
    assert "3 skipped, 1 xfailed" in done.stdout


def test_a_skip_fails_with_ci_and_an_expected_failure_does_not(tmp_path: Path) -> None:
    done = run(tmp_path, ci="true")
    assert done.returncode == 1, done.stdout
    assert "1 failed, 1 xfailed, 2 errors" in done.stdout
    assert done.stdout.count("nothing may be skipped") >= 3
    assert all(reason in done.stdout for reason in ("no Asterisk", "no sipp", "no browser"))
