"""Makes page.jpg, the picture of a scene's page in README.md, from the results of the demo (make demo)."""

import sys
from io import BytesIO
from pathlib import Path

from PIL import Image

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


def save(data: bytes, path: Path) -> None:
    Image.open(BytesIO(data)).convert("RGB").save(path, quality=85, optimize=True)
    print(path.relative_to(ROOT))


if __name__ == "__main__":
    main()
