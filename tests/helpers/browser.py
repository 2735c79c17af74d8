"""A headless Chromium without a GPU, and what a page did while it was open."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, Locator, Page, sync_playwright

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
needs_chromium = pytest.mark.skipif(
    CHROMIUM is None, reason="the program chromium is not on PATH; see tests/install_program.sh"
)
# WebGL is drawn by the CPU. Chromium refuses to run as root in its sandbox, and the pages are ours.
FLAGS = ["--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--no-sandbox"]


@contextmanager
def open_browser() -> Iterator[Browser]:
    """Close it before other tests run: while it is open, nothing else in this process can use asyncio."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


class Visit:
    """A page from disk in a window of its own. `complaints` and `requests` should stay empty."""

    def __init__(self, browser: Browser, file: Path, width: int = 800, height: int = 700, **options: Any) -> None:
        before = options.pop("before", None)
        self.context = browser.new_context(viewport={"width": width, "height": height}, **options)
        self.page: Page = self.context.new_page()
        self.complaints: list[str] = []
        self.requests: list[str] = []
        self.page.on("console", lambda m: m.type in ("error", "warning") and self.complaints.append(m.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", lambda request: self.requests.append(request.url))
        if before:
            self.page.add_init_script(before)
        self.page.goto(file.as_uri())
        self.file = file

    def check(self) -> None:
        """Nothing was complained about, and nothing asked for but what the page brings along."""
        assert self.complaints == []
        assert [url for url in self.requests if not url.startswith(("data:", "blob:"))] == [self.file.as_uri()]


def pixels(locator: Locator) -> np.ndarray:
    """What is seen of an element, (H, W, 3) integers."""
    return np.asarray(Image.open(BytesIO(locator.screenshot())).convert("RGB")).astype(int)
