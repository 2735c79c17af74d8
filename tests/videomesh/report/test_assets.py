"""The bundles of the pages are what their sources make. Node is needed to build them, not to check this."""

import hashlib
import re
from pathlib import Path

import pytest

from checkout import ROOT
from viewer_page import ASSETS

VIEWER = ROOT / "viewer"
ADJUST = ROOT / "src" / "videomesh" / "adjust" / "assets"
BUNDLES = [ASSETS / "viewer.js", ASSETS / "viewer.css", ADJUST / "adjust.js", ADJUST / "adjust.css"]
PARTS = {ASSETS: ("three", "uplot"), ADJUST: ("three",)}
FIRST_LINE = re.compile(r"/\* Built by viewer/build\.mjs from sources (\w{64}), the rest is (\w{64}) \*/")


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def checksum_of_sources(bundle: Path) -> str:
    """As viewer/build.mjs computes it. The scene page has nothing of the other page, whose changes are none of it."""
    files = [VIEWER / name for name in ("build.mjs", "package.json", "package-lock.json")]
    sources = [file for file in (VIEWER / "src").iterdir() if bundle.parent == ADJUST or file.name[:6] != "adjust"]
    names = sorted(file.relative_to(VIEWER).as_posix() for file in [*files, *sources])
    return sha256("".join(f"{name} {sha256((VIEWER / name).read_bytes())}\n" for name in names).encode())


@pytest.mark.parametrize("bundle", BUNDLES, ids=lambda file: file.name)
def test_a_bundle_belongs_to_the_sources_and_was_not_edited(bundle: Path) -> None:
    first, rest = bundle.read_text().split("\n", 1)
    match = FIRST_LINE.fullmatch(first)
    assert match, f"{bundle} has no first line of viewer/build.mjs; run: make viewer"
    assert match[1] == checksum_of_sources(bundle), f"{bundle} is older than viewer/src; run: make viewer"
    assert match[2] == sha256(rest.encode()), f"{bundle} was edited by hand; change viewer/src and run: make viewer"


@pytest.mark.parametrize("bundle", BUNDLES, ids=lambda file: file.name)
def test_a_bundle_can_stand_inline_in_a_page(bundle: Path) -> None:
    assert not re.search(r"</(script|style)|<!--", bundle.read_text(), re.IGNORECASE)


@pytest.mark.parametrize("script", [ASSETS / "viewer.js", ADJUST / "adjust.js"], ids=lambda file: file.name)
def test_the_script_evaluates_nothing_and_takes_no_html(script: Path) -> None:
    text = script.read_text()
    assert not re.search(r"\beval\(|new Function\(|insertAdjacentHTML|\bimport\(", text)
    sources = "".join(file.read_text() for file in (VIEWER / "src").glob("*.js"))
    assert not re.search(r"innerHTML|outerHTML|setAttribute\(\"style|document\.write", sources)


@pytest.mark.parametrize("folder", PARTS, ids=lambda folder: folder.parent.name)
def test_all_that_is_bundled_has_its_licence(folder: Path) -> None:
    licences = (folder / "LICENSES.txt").read_text()
    lock = (VIEWER / "package-lock.json").read_text()
    for name in PARTS[folder]:
        (version,) = re.findall(rf'"node_modules/{name}": {{\s+"version": "([^"]+)"', lock)
        assert f"{name} {version} (MIT)" in licences


def test_the_lock_file_names_no_place_to_download_from() -> None:
    """viewer/.npmrc leaves it out, so that the file is the same wherever it is made."""
    assert '"resolved"' not in (VIEWER / "package-lock.json").read_text()
