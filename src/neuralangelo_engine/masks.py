"""Masks of the subject, for a program that reads pictures only: what is outside of the subject becomes white.

Upstream has no loss for masks. But it can render what it learns before white instead of a learnt background
(model.background.white). Then a ray past the subject has the right colour if nothing is in its way.
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
WHITE = 255


def are_usable(masks: Path, scene: Scene) -> bool:
    """Whether the masks of all images say what the subject is: upstream has one background for all of them."""
    if not all(scene.masks) or not scene.masks:
        return False
    scale = min(1.0, LOOK_SIZE / max(scene.width, scene.height))
    size = (max(1, round(scene.width * scale)), max(1, round(scene.height * scale)))
    return bool(find_masked(read_masks(masks, scene, scene.names, size)).all())


def get_settings() -> dict[str, Any]:
    """Upstream's settings for images that `paint` has changed."""
    return {
        "model.background.enabled": False,
        "model.background.white": True,
        "model.render.num_samples.background": 0,
    }


def are_used(config: dict[str, Any]) -> bool:
    """Whether the settings are those of a training before white."""
    return bool(config.get("model", {}).get("background", {}).get("white"))


def paint(folder: Path, masks: Path, scene: Scene) -> None:
    """Make white what is not the subject, in the images of a folder that have a mask."""
    masked = [name for name, mask in zip(scene.names, scene.masks) if mask]
    for start in range(0, len(masked), AT_ONCE):
        names = masked[start : start + AT_ONCE]
        values = read_masks(masks, scene, names, (scene.width, scene.height))
        for name, mask in zip(names, values):
            paint_image(folder / name, mask != SUBJECT)


def paint_image(path: Path, white: np.ndarray) -> None:
    try:
        with Image.open(path) as opened:
            form, pixels = opened.format, np.array(opened.convert("RGB"))
        pixels[white] = WHITE
        Image.fromarray(pixels).save(path, form, quality=95, subsampling=0)
    except (OSError, SyntaxError, ValueError, IndexError) as error:
        raise UserError(f"images.tar, frame {path.name}: cannot be painted ({error}); run the poses stage again")
