"""The event loop that everything runs on: uvloop where the platform has it."""

import asyncio


def new_loop() -> asyncio.AbstractEventLoop:
    """A loop, for `asyncio.Runner`."""
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()
