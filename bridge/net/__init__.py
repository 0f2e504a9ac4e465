"""Thin shells around `bridge.wire`: each file owns the socket for the wire module of the same name."""
