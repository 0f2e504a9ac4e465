"""The benchmarks that prove the README's figures: `python -m bench NAME`, or `make bench BENCH=NAME`.

They use the bridge as it ships and RTZR's emulator in a process of its own. Nothing in `bridge` knows them.
"""
