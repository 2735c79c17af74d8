"""Make docs/pictures/adjust.jpg: the page of scripts/adjust.py in Chromium, with a box round the subject.

Run it in a project in which the scene is done: python3 PATH/viewer/picture.py SCENE FILE [options of Snakemake]
"""

import signal
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests/helpers"))

from browser import open_browser  # noqa: E402


def main() -> None:
    scene, file, *others = sys.argv[1:]
    command = [sys.executable, ROOT / "scripts/adjust.py", "--scene", scene, "--no-browser", *others]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert server.stdout
    url = next(line.split()[1] for line in server.stdout if line.startswith("Open "))
    try:
        with open_browser() as browser:
            page = browser.new_page(viewport={"width": 1280, "height": 800}, reduced_motion="reduce")
            page.goto(url)
            page.evaluate("adjustReady")
            page.check("input[value=box]", force=True)
            page.click("[data-do=fit]")
            page.wait_for_timeout(1000)
            page.screenshot(path=file)
    finally:
        server.send_signal(signal.SIGINT)
        server.wait()


if __name__ == "__main__":
    main()
