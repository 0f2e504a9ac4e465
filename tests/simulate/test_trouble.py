"""bridge/simulate/trouble.py: a fault's end leaves the knobs as they were turned on the command line."""

from dataclasses import replace

from bridge.emulator.server import Emulator, Knobs
from bridge.simulate.trouble import Fault, Span, begun, go_on


async def test_after_its_faults_the_emulator_is_as_it_was_turned() -> None:
    turned, span = Knobs(max_streams=5, token_life_s=900.0, recognition_ms=40), Span(0.06, 8)
    faults = frozenset(Fault) - {Fault.LATE}
    async with Emulator(begun(turned, faults, span)) as rtzr:
        assert rtzr.knobs == replace(turned, mute=True, token_life_s=0.03, max_streams=4)
        await go_on(rtzr, turned, faults, span)
        assert rtzr.knobs == turned
