"""Our formulas of COLMAP's camera models against COLMAP's own."""

import numpy as np
import pycolmap
import pytest

from videomesh.poses.distortion import find_limit, project, unproject
from videomesh.poses.model import CAMERA_MODELS, Camera

SMALL = [-0.1, 0.02, 0.001, -0.002, 0.01, 0.005, 0.002, 0.001]


@pytest.mark.parametrize("model", [name for name, _ in CAMERA_MODELS.values()])
def test_rays_become_the_pixels_that_colmap_computes(model: str) -> None:
    count = dict(CAMERA_MODELS.values())[model]
    one_focal = (count in (3, 4) and model != "PINHOLE") or model in ("RADIAL", "RADIAL_FISHEYE")
    own = [300.0, 160.0, 120.0] if one_focal else [300.0, 310.0, 160.0, 120.0]
    params = [*own, 0.8] if model == "FOV" else [*own, *SMALL[: count - len(own)]]
    rays = np.random.default_rng(0).uniform(-0.6, 0.6, (200, 2))
    rays[0] = 0
    camera = Camera(1, model, 320, 240, np.array(params))
    pixels = project(camera, rays)
    theirs = pycolmap.Camera(model=model, width=320, height=240, params=params)
    np.testing.assert_allclose(pixels, theirs.img_from_cam(np.insert(rays, 2, 1, axis=1)), atol=1e-9)
    np.testing.assert_allclose(unproject(camera, pixels), rays, atol=1e-9)


def test_a_polynomial_that_folds_back_shows_nothing_twice() -> None:
    """r - 0.3 r^3 is largest at r = 1.054."""
    camera = Camera(1, "SIMPLE_RADIAL", 320, 240, np.array([100.0, 160.0, 120.0, -0.3]))
    assert find_limit(camera, 3.0) == pytest.approx((1 / 0.9) ** 0.5, abs=0.01)
    inside, outside = project(camera, np.array([[1.0, 0.0], [1.5, 0.0]]))
    assert inside[0] == pytest.approx(230) and np.isnan(outside).all()
