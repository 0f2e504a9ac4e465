"""The live page of a daemon beside a real Asterisk, in a real Chromium: a call comes, its words are read as
they are said, it ends, and its story can be looked up.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from bridge.emulator.codebook import SENTENCES
from tests.asterisk.daemon import BridgeProcess, EmulatorProcess
from tests.asterisk.pbx import Asterisk, free_tcp_port
from tests.asterisk.test_calls import dialogue, prompts
from tests.browser import chromium
from tests.scale import some

TOKEN = "t0ken-of-16-characters"
PATIENCE_MS = 30_000


@pytest.fixture(scope="module")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmulatorProcess]:
    with EmulatorProcess(tmp_path_factory.mktemp("emulator"), "--recognition-ms", "100") as running:
        yield running


@pytest.fixture
def page(chromium_installed: None) -> Iterator[Page]:
    with chromium.opened(PATIENCE_MS) as opened:
        yield opened


@pytest.mark.parametrize("workers", some(1, 2))
def test_a_call_is_read_while_it_is_spoken_and_looked_up_when_it_is_over(
    pbx: Asterisk,
    emulator: EmulatorProcess,
    tmp_path: Path,
    page: Page,
    monkeypatch: pytest.MonkeyPatch,
    workers: int,
) -> None:
    prompts(pbx)
    monkeypatch.setenv("RTZR_PAGE_TOKEN", TOKEN)
    port = free_tcp_port()
    with BridgeProcess(pbx, emulator, tmp_path, page={"port": port}, workers=workers) as bridge:
        page.goto(f"http://127.0.0.1:{port}/")
        page.get_by_label("Token").fill(TOKEN)
        page.keyboard.press("Enter")
        expect(page.get_by_text("No call is being heard now.")).to_be_visible()
        call = pbx.two_party_call(*dialogue(0, 6, turns=2))
        card = page.locator(f'.card[data-call="{call.id}"]')
        expect(card.locator(".said").filter(has_text=SENTENCES[0])).to_be_visible(timeout=PATIENCE_MS)
        expect(card.locator(".leg.caller .state")).to_have_text("streaming")
        expect(card.locator(".said").filter(has_text=SENTENCES[6])).to_be_visible(timeout=PATIENCE_MS)
        bridge.wait_for_end(call.id, 40)
        expect(page.locator("#rows tr").first).to_contain_text("Complete")
        page.locator("#rows a").first.click()
        said = page.get_by_role("region", name="Conversation").locator(".words")
        expect(said).to_have_text([SENTENCES[index] for index in (0, 6, 1, 7)])
        picture = page.get_by_role("img", name="Timeline")
        expect(picture.locator(".utterance")).to_have_count(4)
        expect(picture.locator("rect.session")).to_have_count(2)
        assert bridge.terminate() == 0
