"""A bare page around the viewer's script: the data, the containers, and the content security policy of scene pages."""

import base64
import hashlib
import json
from pathlib import Path
from typing import Any

from checkout import ROOT

ASSETS = ROOT / "src" / "videomesh" / "report" / "assets"
CONTAINERS = ("viewer", "filmstrip", "quality-chart", "camera-ring", "training-charts", "held-out")
PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Viewer</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<style>{page_style}</style><style>{style}</style></head>
<body><main>{containers}</main>{data}<script>{script}</script></body></html>
"""
PAGE_STYLE = """:root { color-scheme: light dark } body { margin: 0; background: Canvas; color: CanvasText }
main { max-width: 1080px; margin: auto; padding: 12px } main > div { margin-bottom: 24px }"""


def source(text: str) -> str:
    """What a content security policy calls an inline element with that text."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def write_viewer_page(path: Path, data: dict[str, Any], blobs: dict[str, bytes]) -> Path:
    script, style = ((ASSETS / name).read_text() for name in ("viewer.js", "viewer.css"))
    policy = (
        f"default-src 'none'; script-src {source(script)}; style-src {source(PAGE_STYLE)} {source(style)}; "
        "img-src data: blob:; connect-src blob:"
    )
    parts = [
        f'<script type="text/plain" id="{name}">{base64.b64encode(blob).decode()}</script>'
        for name, blob in blobs.items()
    ]
    text = json.dumps(data).replace("<", "\\u003c")
    parts.append(f'<script type="application/json" id="page-data">{text}</script>')
    containers = "".join(f'<div id="{name}">{"a still" * (name == "viewer")}</div>' for name in CONTAINERS)
    path.write_text(
        PAGE.format(
            policy=policy, page_style=PAGE_STYLE, style=style, containers=containers, data="".join(parts), script=script
        )
    )
    return path
