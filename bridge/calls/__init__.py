"""Calls as the PBX has them: which are heard and by which taps, from when until when, and at what cost."""
