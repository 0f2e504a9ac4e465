"""A real browser for the tests: Debian's chromium, with a font that has Hangul.

`make test` installs it (`python -m tests.browser.chromium`), with a word on what it installs. Playwright, a
package of Python, drives it, and brings no browser of its own.
"""

import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from playwright.sync_api import Page, sync_playwright

from tests.debian import Program

BINARY = "chromium"
CHROMIUM = Program("Chromium", BINARY, (BINARY, "fonts-noto-cjk"))


@contextmanager
def opened(patience_ms: int, **options: Any) -> Iterator[Page]:
    """An empty page of a browser of its own, for tests that are not coroutines; `options` are a page's."""
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which(BINARY), args=arguments)
        page = browser.new_page(locale="en-GB", **options)
        page.set_default_timeout(patience_ms)
        yield page
        browser.close()


if __name__ == "__main__":
    sys.exit(CHROMIUM.main())
