"""Compare a mesh's picture with colours at its vertices, in frames that neither was made from. Prints one JSON line.

Some frames are held out: every eighth from the fifth on, as in training. The same mesh is drawn from their cameras with

vertices    colours at its vertices, as mesh.glb has them with mesh.texture_size 0, made from the other frames
picture     a picture made from the other frames

and both are compared with the frames: PSNR (dB) over all pixels that show the mesh, and over those at least 3 px away
from any outline, where the colours count and not the shape. The best that colours can do is bounded by shape and poses:
near outlines, what a frame shows may be another surface than what the mesh has there. Both are drawn twice as fine and
averaged, as the pixels of a camera do, and only pixels that the mesh covers as a whole count.

Text is as sharp as edges are: detail is the mean difference between a pixel and its neighbours, as a share of the
frame's own.
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.ndimage import distance_transform_edt

from videomesh.errors import run
from videomesh.meshing import surface, texture, web
from videomesh.meshing.raster import Pinhole, Raster, draw_mesh, interpolate, sample
from videomesh.meshing.sparse_mesh import Mesh
from videomesh.scene import Scene, read_images, read_masks, read_scene

FIRST, EVERY = 4, 8  # frames held out
CLEAR = 3  # px from an outline
FINER = 2  # pixels along both axes for one of the frame
VOXEL = 1 / 128  # of the region's radius: mesh.resolution 256


def main() -> None:
    args = parse_arguments()
    scene = read_scene(args.results / "region/transforms.json")
    images, masks = args.results / "poses/images.tar", args.results / "poses/masks.tar"
    held_out = list(range(FIRST, len(scene.names), EVERY))
    others = [row for row in range(len(scene.names)) if row not in held_out]
    vertices, faces, colours, _ = web.read_mesh(args.mesh)
    colours = recolour(vertices, faces, colours, scene, images, masks, others)
    fewer, faces = web.simplify(vertices, faces, args.faces)
    colours, normals = web.mean_values(vertices, colours, fewer), web.vertex_normals(fewer, faces)
    started, cpu = time.perf_counter(), time.process_time()
    photographs = texture.Photographs(scene, images, masks, others)
    atlas, picture = texture.make(fewer, faces, normals, colours, photographs, args.texture_size)
    seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
    measures: dict[str, list[float]] = {}
    shown = texture.Photographs(scene, images, masks, held_out)
    for camera, (image, counts) in zip(shown.cameras, shown, strict=True):
        outlines = draw_mesh(fewer, faces, camera)
        fine = camera.scaled((camera.size[0] * FINER, camera.size[1] * FINER))
        raster, of_atlas = draw_mesh(fewer, faces, fine), draw_mesh(fewer[atlas.vertex], atlas.faces, fine)
        uv = interpolate(of_atlas, atlas.uv, atlas.faces) * atlas.size
        for name, drawn, found in (
            ("vertices", raster, interpolate(raster, colours, faces)),
            ("picture", of_atlas, sample(picture / np.float32(255), uv[:, 0], uv[:, 1])),
        ):
            for key, value in judge(outlines, drawn, found, image / 255, counts, camera, fewer).items():
                measures.setdefault(f"{name}_{key}", []).append(value)
    result: dict[str, Any] = {name: round(float(np.mean(values)), 3) for name, values in measures.items()}
    result |= {"faces": len(faces), "size": atlas.size, "frames": len(others), "held_out": len(held_out)}
    print(json.dumps({**result, "seconds": round(seconds, 1), "cpu_seconds": round(cpu, 1)}))


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, required=True, help="results/SCENE of a finished run")
    parser.add_argument("--mesh", type=Path, required=True, help="its mesh.ply")
    parser.add_argument("--faces", type=int, default=100_000, help="mesh.web_faces (%(default)s)")
    parser.add_argument("--texture-size", type=int, default=4096, help="mesh.texture_size (%(default)s)")
    return parser.parse_args()


def recolour(
    vertices: np.ndarray,
    faces: np.ndarray,
    colours: np.ndarray,
    scene: Scene,
    images: Path,
    masks: Path,
    rows: list[int],
) -> np.ndarray:
    """The colours that the mesh step gives from those frames alone; where none helps, those that it has."""
    names, size = [scene.names[row] for row in rows], (scene.width, scene.height)
    world_from_cam = torch.tensor(scene.world_from_cam[rows])
    rotation = world_from_cam[:, :3, :3].transpose(1, 2)
    position = (world_from_cam[:, :3, 3:] - torch.tensor(scene.center)[:, None]) / scene.radius
    views = surface.Views(torch.cat([rotation, -rotation @ position], -1), scene.focal, scene.principal, size)
    unit = Mesh(torch.tensor((vertices - scene.center) / scene.radius), torch.tensor(faces))
    pictures = [torch.from_numpy(image) for image in read_images(images, scene, names, size)]
    shows = [torch.from_numpy(mask == 255) for mask in read_masks(masks, scene, names, size)]
    _, found, weight, _ = surface.observe(unit, views, pictures, shows, VOXEL)
    return np.where(weight.numpy()[:, None] > 0, found.numpy(), colours)


def judge(
    outlines: Raster, fine: Raster, found: np.ndarray, image: np.ndarray, counts: np.ndarray, camera: Pinhole,
    vertices: np.ndarray,
) -> dict[str, float]:  # fmt: skip
    """outlines: the mesh with the frame's pixels. found: colours (n, 3) of those of the finer drawing that show it."""
    drawn = np.zeros((*fine.face.shape, 3))
    drawn[fine.face >= 0] = found
    height, width = outlines.face.shape
    parts = (height, FINER, width, FINER)
    drawn = drawn.reshape(*parts, 3).mean((1, 3))
    covered = (fine.face >= 0).reshape(parts).all((1, 3))
    near = outlines.nearness
    bend = np.zeros_like(near)
    bend[:, 1:-1] = np.abs(near[:, :-2] - 2 * near[:, 1:-1] + near[:, 2:])
    bend[1:-1] = np.maximum(bend[1:-1], np.abs(near[:-2] - 2 * near[1:-1] + near[2:]))
    smooth = bend <= texture.get_gap(near, float(np.ptp(vertices, axis=0).max()), max(camera.focal))
    clear = covered & (distance_transform_edt(smooth) >= CLEAR) & counts
    square = ((drawn - image) ** 2).mean(-1)
    detail = [
        np.abs(np.diff(picture.mean(-1), axis=1))[clear[:, 1:] & clear[:, :-1]].mean() for picture in (drawn, image)
    ]
    return {
        "psnr": float(-10 * np.log10(square[covered & counts].mean())),
        "psnr_clear": float(-10 * np.log10(square[clear].mean())),
        "detail": float(detail[0] / detail[1]),
    }


if __name__ == "__main__":
    run(main)
