"""A small FreeSWITCH that runs here, for demonstrations and tests: `switch` is the way in.

Written from recordings of a real one (1.10.12, mod_audio_stream, mod_audio_fork), and on purpose without the
bridge's own parsers: an emulator that shared them could not find a fault in them. Nothing lives in this file.
"""
