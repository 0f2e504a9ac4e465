"""What the benchmarks' tests share with those of the real Asterisk."""

from tests.asterisk.conftest import asterisk_installed

__all__ = ["asterisk_installed"]
