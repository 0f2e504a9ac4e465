"""Bytes and values only. Nothing here may open a socket, read a clock, start a task or write a log."""
