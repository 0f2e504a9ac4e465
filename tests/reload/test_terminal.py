"""SIGHUP to a daemon at a terminal: a reload while the terminal is there, the end once it is gone."""

import asyncio
import os
import pty
import signal

import pytest

from bridge.daemon import _signals


@pytest.mark.parametrize("gone", [False, True])
async def test_a_terminal_that_is_gone_ends_it(gone: bool) -> None:
    ours, theirs = pty.openpty()
    stdin = os.dup(0)
    loop = asyncio.get_running_loop()
    try:
        os.dup2(theirs, 0)
        stop, force, hangup = _signals()
        if gone:
            os.close(ours)
        os.kill(os.getpid(), signal.SIGHUP)
        async with asyncio.timeout(5):
            await (stop if gone else hangup).wait()
        assert (stop.is_set(), force.is_set(), hangup.is_set()) == (gone, False, not gone)
        os.kill(os.getpid(), signal.SIGTERM)
        async with asyncio.timeout(5):
            await (force if gone else stop).wait()
    finally:
        os.dup2(stdin, 0)
        for number in (signal.SIGHUP, signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)
        for file in {stdin, theirs} | (set() if gone else {ours}):
            os.close(file)
