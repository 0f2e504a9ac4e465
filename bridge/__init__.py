"""rtzr-bridge: taps PBX calls and turns each speaker's audio into live RTZR transcripts."""

from importlib.metadata import PackageNotFoundError, version

try:
    VERSION = version("rtzr-bridge")
except PackageNotFoundError:  # the folder alone, as on a Python's path
    VERSION = "not installed"
