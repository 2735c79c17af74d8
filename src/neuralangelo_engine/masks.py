"""Masks of the subject, for a program that reads pictures only: what is outside of the subject gets one colour.

Upstream has no loss for masks. But without its background model it renders what it learns before plain white, or
before black (model.background). Then a ray past the subject has the right colour if nothing is in its way.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from videomesh.errors import UserError
from videomesh.scene import SUBJECT, Scene, find_masked, read_masks

LOOK_SIZE = 256  # px, long side at which masks are looked at
AT_ONCE = 16  # masks in memory at full size
WHITE, BLACK = 255, 0


def are_usable(masks: Path, scene: Scene) -> bool:
    """Whether the masks of all images say what the subject is: upstream has one background for all of them."""
    if not all(scene.masks) or not scene.masks:
        return False
    scale = min(1.0, LOOK_SIZE / max(scene.width, scene.height))
    size = (max(1, round(scene.width * scale)), max(1, round(scene.height * scale)))
    return bool(find_masked(read_masks(masks, scene, scene.names, size)).all())


def get_settings() -> dict[str, Any]:
    """Upstream's settings for images that `paint` has made white."""
    return {
        "model.background.enabled": False,
        "model.background.white": True,
        "model.render.num_samples.background": 0,
    }


def get_colour(config: dict[str, Any]) -> int | None:
    """What these settings show past the subject: WHITE or BLACK; None with a learnt background, and in a room."""
    model = config.get("model", {})
    background = model.get("background", {})
    inside_out = model.get("object", {}).get("sdf", {}).get("mlp", {}).get("inside_out")
    if background.get("enabled", True) or inside_out:
        return None
    return WHITE if background.get("white") else BLACK


def paint(folder: Path, masks: Path, scene: Scene, colour: int) -> None:
    """Give what is not the subject one colour, in the images of a folder that have a mask.

    So is what no picture shows: with masks there is mostly background.
    """
    masked = [name for name, mask in zip(scene.names, scene.masks) if mask]
    for start in range(0, len(masked), AT_ONCE):
        names = masked[start : start + AT_ONCE]
        values = read_masks(masks, scene, names, (scene.width, scene.height))
        for name, mask in zip(names, values):
            paint_image(folder / name, mask != SUBJECT, colour)


def paint_image(path: Path, chosen: np.ndarray, colour: int) -> None:
    try:
        with Image.open(path) as opened:
            form, pixels = opened.format, np.array(opened.convert("RGB"))
        pixels[chosen] = colour
        Image.fromarray(pixels).save(path, form, quality=95, subsampling=0)
    except (OSError, SyntaxError, ValueError, IndexError) as error:
        raise UserError(f"images.tar, frame {path.name}: cannot be painted ({error}); run the poses stage again")
