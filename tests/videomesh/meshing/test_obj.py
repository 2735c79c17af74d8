"""mesh.glb with a picture -> mesh.obj, mesh.mtl and mesh.jpg."""

from pathlib import Path

import numpy as np
import pytest
import trimesh

from programs import call
from videomesh.meshing import texture, web

BOX = trimesh.creation.box(extents=[1, 2, 3]).subdivide().subdivide()
NAMES = ["mesh.jpg", "mesh.mtl", "mesh.obj"]


def run(mesh: Path, out: Path):
    files = dict(zip(("picture", "materials", "output"), NAMES, strict=True))
    return call("deliver_obj", "--mesh", mesh, *(word for k, name in files.items() for word in (f"--{k}", out / name)))


def test_other_programs_read_it(tmp_path: Path) -> None:
    vertices, faces = np.array(BOX.vertices), np.array(BOX.faces)
    normals = web.vertex_normals(vertices, faces)
    atlas = texture.unwrap(vertices, faces, 40, 512)
    colours = np.abs(normals) > 0.9  # red, green and blue sides
    texels = texture.get_texels(atlas, vertices, normals, colours)
    picture = texture.fill(atlas.size, texels.place, texels.colour)
    (tmp_path / "mesh.glb").write_bytes(texture.glb(vertices, normals, atlas, picture))
    done = run(tmp_path / "mesh.glb", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == NAMES
    mesh = trimesh.load(tmp_path / "out" / "mesh.obj", force="mesh")
    assert np.allclose(np.ptp(mesh.vertices, axis=0), [1, 3, 2]), "y is up"
    assert mesh.volume == pytest.approx(6, rel=1e-4)
    assert mesh.visual.material.image.size == atlas.size
    found = mesh.visual.to_color().vertex_colors[:, :3] / 255
    sides = np.isclose(np.abs(mesh.vertices[:, [0, 2, 1]]), [0.5, 1, 1.5])
    inner = sides.sum(1) == 1  # at the edges the normals are of two sides
    assert inner.sum() > 50 and np.abs(found - sides)[inner].mean() < 0.05
    welded = trimesh.load(tmp_path / "out" / "mesh.obj", force="mesh", maintain_order=True, merge_tex=True)
    assert welded.is_watertight, "charts hang together"


@pytest.mark.parametrize("content", [None, b"", b"<html>", "plain"])
def test_without_a_picture_nothing_is_written(tmp_path: Path, content: object) -> None:
    path = tmp_path / "mesh.glb"
    if content == "plain":
        vertices, faces = np.array(BOX.vertices), np.array(BOX.faces)
        path.write_bytes(web.glb(vertices, faces, vertices, np.abs(vertices) / 2))
    elif content is not None:
        path.write_bytes(content)
    done = run(path, tmp_path / "out")
    assert done.returncode == 1 and done.stderr.startswith("error: ") and str(path) in done.stderr
    assert not (tmp_path / "out").exists()
