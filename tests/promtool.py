"""The real promtool and Prometheus for the tests: Debian's package prometheus.

`make test` installs it (`python -m tests.promtool`), with a word on what it installs. No service of the
system is started or touched. The fixture `promtool` is in tests/conftest.py.
"""

import subprocess
import sys

from tests.debian import Program

BINARY = "promtool"
PROMETHEUS = Program("Prometheus", BINARY, ("prometheus",))


def run(*arguments: str, given: bytes = b"") -> str:
    """What `promtool` says of its arguments; AssertionError, with that, when it finds a fault."""
    done = subprocess.run(
        [BINARY, *arguments], input=given, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
    )
    said = done.stdout.decode()
    assert done.returncode == 0, said
    return said


if __name__ == "__main__":
    sys.exit(PROMETHEUS.main())
