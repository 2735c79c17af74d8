"""Makes page.jpg and adjust.jpg, pictures of a scene's page and of make adjust, from the results of make demo."""

import signal
import subprocess
import sys
from io import BytesIO
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
sys.path.insert(0, str(ROOT / "tests" / "helpers"))
from browser import Visit, open_browser  # noqa: E402

PAGE = ROOT / "deliver/tractor/scene.html"


def main() -> None:
    if not PAGE.exists():
        sys.exit(f"error: {PAGE} does not exist; run make demo first")
    with open_browser() as browser:
        visit = Visit(browser, PAGE, width=1280, height=1000, reduced_motion="reduce", color_scheme="dark")
        visit.page.evaluate("viewerReady")
        visit.page.click("[data-layer=cameras]")
        visit.page.wait_for_timeout(1000)  # until the last frame is drawn
        save(visit.page.screenshot(), HERE / "page.jpg")
        save(take_adjust(browser), HERE / "adjust.jpg")


def take_adjust(browser: Browser) -> bytes:
    """The page of scripts/adjust.py with a box round the subject."""
    command = [sys.executable, ROOT / "scripts/adjust.py", "--scene", "tractor", "--no-browser"]
    command += ["--configfile", ROOT / "config/demo/config.yaml"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    assert server.stdout
    try:
        url = next(line.split()[1] for line in server.stdout if line.startswith("Open "))
        page = browser.new_page(viewport={"width": 1280, "height": 800}, reduced_motion="reduce")
        page.goto(url)
        page.evaluate("adjustReady")
        page.check("input[value=box]", force=True)
        page.click("[data-do=fit]")
        page.wait_for_timeout(1000)
        return page.screenshot()
    finally:
        server.send_signal(signal.SIGINT)
        server.wait()


def save(data: bytes, path: Path) -> None:
    Image.open(BytesIO(data)).convert("RGB").save(path, quality=85, optimize=True)
    print(path.relative_to(ROOT))


if __name__ == "__main__":
    main()
