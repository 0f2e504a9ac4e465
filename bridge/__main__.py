"""`python -m bridge`: the same as `rtzr-bridge`."""

from bridge.cli import main

main()
