"""Another YAML for a daemon that runs: what it changes, what of it can be had without a restart, and how all
parts get it at once.

A reload has two halves: every part makes ready what it needs, which may fail and then nothing has happened;
and then all of them take it within one step of the loop, which cannot.
"""
