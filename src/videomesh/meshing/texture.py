"""The colours of a mesh as a picture: unwrapped by xatlas, and filled with what the photographs show.

A picture holds what photographs show between the vertices: print, seams, grain. Each of its pixels, a texel, gets the
mean of all photographs that see its place, in which the sharpest ones that look straight at it and from near by count
most. Weights change slowly from texel to texel, so that no seam is seen where one photograph follows another.
"""

import math
import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
import xatlas
from PIL import Image
from scipy.ndimage import distance_transform_edt, uniform_filter

from videomesh.meshing import gltf
from videomesh.meshing.raster import Pinhole, Raster, draw, draw_mesh, interpolate, is_within, project, sample
from videomesh.scene import SUBJECT, Scene, read_images, read_masks

OVERSAMPLING = 1.25  # texels for a pixel of the nearest photographs: fewer lose detail to the second interpolation
FULL = 0.6  # share of the picture that charts fill, about; what is larger is scaled down
# Faces that xatlas gets together, since its time grows faster than they do: 200,000 in pieces of 8000 take 30 s, of
# 1000 10 s, of 300 5 s. With the latter, the sides of the demo's picture are 8 % longer, for room between more charts.
PIECE = 300
PADDING = 2  # texels between charts, so that the filter of a viewer takes no colour from another
BATCH = 8  # photographs in memory
MAX_THREADS = 4  # each has up to 200 MB at work
BLOCK = 2**18  # texels at once, which also bounds the memory
DEPTH_SIZE = 512  # px, long side of depth images
# What lies deeper behind the depth image than both is hidden, and where depth jumps by more there is an outline.
GAP, GAP_PIXELS = 0.005, 4  # of the mesh's size; pixels of the depth image
FEATHER = 6  # px of the depth image from an outline, the frame's edge or the mask's to full weight
UNSURE = 1e-4  # weight on an outline itself: taken only where nothing better is
SLANT = 0.2  # cosine between viewing direction and normal below which a photograph does not count
# Of (cosine x pixels per length)^2 x sharpness: a frame that looks at 30 degrees has half the weight. On the demo 1 is
# .1 dB nearer to frames that were left out and 2 blurs less; 4 and 8 show where frames change.
POWER = 2
UNKNOWN = 1e-14  # weight of the vertices' colours: taken where no photograph helps
SAMPLES = 4000  # texels by which frames are compared
ENOUGH = 50  # of these in a frame, or nothing is known of it
QUALITY = 90  # of the picture, a JPEG
DETAIL = (3, 7)  # px: finer than the first is detail, whose mean is taken over the second


class Atlas(NamedTuple):
    """A mesh cut into charts that lie flat in a picture."""

    vertex: np.ndarray  # (W,) of the mesh, for each vertex of the atlas: those on a cut have several
    faces: np.ndarray  # (F, 3) of the atlas's vertices, in the mesh's order
    uv: np.ndarray  # (W, 2) in 0..1 from the picture's upper left corner
    size: tuple[int, int]  # px: width, height


class Texels(NamedTuple):
    """The texels that charts cover."""

    place: tuple[np.ndarray, np.ndarray]  # rows and columns (T,) in the picture
    position: np.ndarray  # (3, T) float32, from the mesh's middle
    normal: np.ndarray  # (3, T) float32
    colour: np.ndarray  # (T, 3) float32 in 0..1, of the vertices


class Look(NamedTuple):
    """What a photograph can know of the mesh: a depth image, and how far each pixel is from where that ends."""

    camera: Pinhole  # of the photograph, in a world whose origin is the mesh's middle
    depth: np.ndarray  # (h, w, 2) float32: 1 / depth, and 0..1 for the distance to the next outline
    size: float  # of the mesh


class Photographs:
    """Frames of a scene with their masks, read anew each time that they are gone through."""

    def __init__(self, scene: Scene, images: Path, masks: Path, rows: Sequence[int] | None = None) -> None:
        self.scene, self.images, self.masks = scene, images, masks
        self.rows = range(len(scene.names)) if rows is None else rows
        self.size = (scene.width, scene.height)
        self.cameras = [
            Pinhole(np.linalg.inv(scene.world_from_cam[row]), scene.focal, scene.principal, self.size)
            for row in self.rows
        ]

    def __iter__(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Image (h, w, 3) uint8, and which of its pixels count (h, w) bool."""
        for start in range(0, len(self.rows), BATCH):
            names = [self.scene.names[row] for row in self.rows[start : start + BATCH]]
            images = read_images(self.images, self.scene, names, self.size)
            yield from zip(images, read_masks(self.masks, self.scene, names, self.size) == SUBJECT, strict=True)


# --------------------------------------------------------------------------------------------------------- the atlas


def get_density(vertices: np.ndarray, normals: np.ndarray, cameras: Sequence[Pinhole]) -> float:
    """Texels per unit of length, with which nine of ten places keep all that any camera shows of them."""
    step = max(1, len(vertices) // SAMPLES)
    points, directions = vertices[::step], normals[::step]
    best = np.zeros(len(points))
    for camera in cameras:
        x, y, nearness = project(points.T, camera)
        offset = get_centre(camera) - points
        shown = is_within(x, y, camera.size) & ((offset * directions).sum(1) > SLANT * np.linalg.norm(offset, axis=1))
        best = np.maximum(best, shown * nearness * max(camera.focal))
    seen = best[best > 0]
    size = float(np.ptp(vertices, axis=0).max())
    return OVERSAMPLING * (float(np.quantile(seen, 0.9)) if len(seen) else max(cameras[0].size) / size)


def get_centre(camera: Pinhole) -> np.ndarray:
    return np.asarray(-camera.cam_from_world[:3, :3].T @ camera.cam_from_world[:3, 3])


def unwrap(vertices: np.ndarray, faces: np.ndarray, density: float, largest: int) -> Atlas:
    """Charts with so many texels per unit of length, or fewer if the picture's sides would be longer than `largest`."""
    unit = float(np.ptp(vertices, axis=0).max())
    points = (vertices - vertices.mean(0)) / unit  # xatlas has float32, and limits that suit sizes near 1
    area = np.linalg.norm(np.cross(*(points[faces[:, k]] - points[faces[:, 0]] for k in (1, 2))), axis=1).sum() / 2
    packing = xatlas.PackOptions()
    packing.padding = PADDING
    packing.texels_per_unit = min(density * unit, largest * math.sqrt(FULL / max(area, 1e-12)))
    atlas = xatlas.Atlas()
    pieces = split(points[faces].mean(1), np.arange(len(faces)))
    used = [np.unique(faces[piece], return_inverse=True) for piece in pieces]
    for own, corners in used:
        atlas.add_mesh(points[own].astype(np.float32), corners.reshape(-1, 3).astype(np.uint32))
    atlas.generate(xatlas.ChartOptions(), packing)
    vertex, uv, atlas_faces = [], [], np.empty_like(faces)
    count = 0
    for number, (piece, (own, _)) in enumerate(zip(pieces, used, strict=True)):
        of_piece, corners, places = atlas[number]
        vertex.append(own[of_piece])
        uv.append(places)
        atlas_faces[piece] = corners.reshape(-1, 3).astype(np.int64) + count
        count += len(of_piece)
    shrink = min(1.0, largest / max(atlas.width, atlas.height))
    size = (max(1, round(atlas.width * shrink)), max(1, round(atlas.height * shrink)))
    return Atlas(np.concatenate(vertex), atlas_faces, np.concatenate(uv), size)


def split(middles: np.ndarray, faces: np.ndarray) -> list[np.ndarray]:
    """Faces with middles (F, 3) in pieces of at most PIECE, halved again and again across their longest side."""
    if len(faces) <= PIECE:
        return [faces]
    axis = int(np.ptp(middles[faces], axis=0).argmax())
    order = faces[np.argsort(middles[faces, axis], kind="stable")]
    return [part for half in np.array_split(order, 2) for part in split(middles, half)]


def get_texels(atlas: Atlas, vertices: np.ndarray, normals: np.ndarray, colours: np.ndarray) -> Texels:
    """Vertices, normals and colours (V, 3) are those of the mesh."""
    x, y = (atlas.uv * atlas.size)[atlas.faces.T].transpose(2, 0, 1).astype(np.float64)
    raster = draw(x, y, np.ones(x.shape), atlas.size)
    add_slivers(raster, x, y)
    position, normal, colour = (
        np.ascontiguousarray(interpolate(raster, values[atlas.vertex], atlas.faces).T, np.float32)
        for values in (vertices - middle_of(vertices), normals, colours)
    )
    normal /= np.maximum(np.linalg.norm(normal, axis=0), 1e-12)
    rows, columns = np.nonzero(raster.face >= 0)
    return Texels((rows, columns), position, normal, colour.T)


def add_slivers(raster: Raster, x: np.ndarray, y: np.ndarray) -> None:
    """Give texels to triangles (3, F) between whose edges no texel has its centre: those of their middles, corners and
    middles of edges. Else they would show what another chart has beside them."""
    height, width = raster.face.shape
    for weights in np.array([[2, 2, 2], [3, 3, 0], [0, 3, 3], [3, 0, 3], [6, 0, 0], [0, 6, 0], [0, 0, 6]]) / 6:
        column = (weights @ x).astype(np.int64).clip(0, width - 1)
        row = (weights @ y).astype(np.int64).clip(0, height - 1)
        bare = np.flatnonzero(raster.face[row, column] < 0)
        raster.face[row[bare], column[bare]] = bare
        raster.weights[row[bare], column[bare]] = weights


def middle_of(vertices: np.ndarray) -> np.ndarray:
    return np.asarray((vertices.min(0) + vertices.max(0)) / 2)


# -------------------------------------------------------------------------------------------------------- the colours


def paint(
    vertices: np.ndarray, faces: np.ndarray, atlas: Atlas, texels: Texels, cameras: Sequence[Pinhole],
    photographs: Iterable[tuple[np.ndarray, np.ndarray]],
) -> np.ndarray:  # fmt: skip
    """The picture (h, w, 3) uint8. The photographs are gone through twice."""
    middle = middle_of(vertices)
    looks, gains, sharpness = compare(
        vertices - middle, faces, texels, [move(camera, middle) for camera in cameras], photographs
    )
    reference = get_usual_density(looks)
    total = np.full(len(texels.colour), UNKNOWN, np.float32)
    colour = np.ascontiguousarray(texels.colour.T) * np.float32(UNKNOWN)  # (3, T): NumPy is slow with short rows
    blocks = [slice(start, start + BLOCK) for start in range(0, len(total), BLOCK)]
    with get_threads() as pool:
        for look, gain, sharp, (image, _) in zip(looks, gains, sharpness, photographs, strict=True):
            planes = np.ascontiguousarray(image.transpose(2, 0, 1), np.float32) * (gain[:, None, None] / 255)
            picture = planes.astype(np.float32).transpose(1, 2, 0)

            def add(block: slice, look: Look = look, sharp: float = sharp, picture: np.ndarray = picture) -> None:
                rows, x, y, nearness, cosine, room = observe(texels.position[:, block], texels.normal[:, block], look)
                weight = ((cosine * nearness * (max(look.camera.focal) / reference)) ** 2 * sharp) ** POWER * room
                weight = weight.astype(np.float32)
                rows += block.start
                total[rows] += weight
                for channel, shown in enumerate(sample(picture, x, y).T):
                    colour[channel, rows] += weight * shown

            list(pool.map(add, blocks))
    return fill(atlas.size, texels.place, (colour / total).T)


def get_threads() -> ThreadPoolExecutor:
    """NumPy and SciPy let other threads run meanwhile."""
    return ThreadPoolExecutor(min(MAX_THREADS, os.cpu_count() or 1))


def get_usual_density(looks: Sequence[Look]) -> float:
    """Pixels per unit of length with which the frames show the mesh, so that weights are near 1 whatever the unit."""
    nearness = [look.depth[:, :, 0][look.depth[:, :, 0] > 0] for look in looks]
    densities = [
        max(look.camera.focal) * float(np.median(part)) for look, part in zip(looks, nearness, strict=True) if len(part)
    ]
    return float(np.median(densities)) if densities else 1.0


def move(camera: Pinhole, origin: np.ndarray) -> Pinhole:
    """The camera in a world with another origin."""
    pose = np.array(camera.cam_from_world)
    pose[:3, 3] += pose[:3, :3] @ origin
    return camera._replace(cam_from_world=pose)


def get_look(vertices: np.ndarray, faces: np.ndarray, camera: Pinhole, counts: np.ndarray) -> Look:
    width, height = camera.size
    shrink = min(1.0, DEPTH_SIZE / max(width, height))
    small = camera.scaled((max(1, round(width * shrink)), max(1, round(height * shrink))))
    nearness = draw_mesh(vertices, faces, small).nearness
    size = float(np.ptp(vertices, axis=0).max())
    # 1 / depth is linear on a plane, however slanted: its second difference shows outlines alone.
    bend = np.zeros_like(nearness)
    bend[:, 1:-1] = np.abs(nearness[:, :-2] - 2 * nearness[:, 1:-1] + nearness[:, 2:])
    bend[1:-1] = np.maximum(bend[1:-1], np.abs(nearness[:-2] - 2 * nearness[1:-1] + nearness[2:]))
    rows = ((np.arange(small.size[1]) + 0.5) * height / small.size[1]).astype(int)
    columns = ((np.arange(small.size[0]) + 0.5) * width / small.size[0]).astype(int)
    free = (bend <= get_gap(nearness, size, max(small.focal))) & counts[rows][:, columns]
    room = distance_transform_edt(np.pad(free, 1))[1:-1, 1:-1] / FEATHER
    room = np.where(counts[rows][:, columns], np.clip(room, UNSURE, 1), 0)
    return Look(camera, np.stack([nearness, room], -1).astype(np.float32), size)


def get_gap(nearness: np.ndarray, size: float, focal: float) -> np.ndarray:
    """The difference of 1 / depth that is more than the mesh's roughness and a slanted surface make."""
    return np.asarray(np.maximum(GAP * size * nearness**2, GAP_PIXELS / focal * nearness))


def observe(position: np.ndarray, normal: np.ndarray, look: Look) -> tuple[np.ndarray, ...]:
    """Those places (3, T) that a photograph shows: numbers, pixels x and y, 1 / depth, cosine between viewing direction
    and normal, and 0..1 for how far from an outline, (n,) each."""
    centre = get_centre(look.camera).astype(np.float32)
    above = centre @ normal - np.einsum("ij,ij->j", position, normal)  # distance of the camera from the surface's plane
    rows = np.flatnonzero(above > 0)
    points = position.take(rows, axis=1)
    offset = centre[:, None] - points
    cosine = above[rows] / np.sqrt(np.einsum("ij,ij->j", offset, offset))
    straight = np.flatnonzero(cosine > SLANT)
    rows, cosine = rows[straight], cosine[straight]
    x, y, nearness = project(points.take(straight, axis=1), look.camera)
    height, width = look.depth.shape[:2]
    across, down = width / look.camera.size[0], height / look.camera.size[1]
    front, room = sample(look.depth, x * across, y * down).T
    gap = get_gap(nearness, look.size, max(look.camera.focal) * max(across, down))
    shown = is_within(x, y, look.camera.size) & (nearness >= front - gap) & (nearness > 0) & (room > 0)
    return rows[shown], x[shown], y[shown], nearness[shown], cosine[shown], room[shown]


def compare(
    vertices: np.ndarray, faces: np.ndarray, texels: Texels, cameras: Sequence[Pinhole],
    photographs: Iterable[tuple[np.ndarray, np.ndarray]],
) -> tuple[list[Look], np.ndarray, np.ndarray]:  # fmt: skip
    """What each frame can know, factors (N, 3) that give all the same exposure and white balance, and the sharpness
    (N,) of each, up to 1.

    The latter come from places that several frames see: what one shows there, compared with what the others show.
    """
    step = max(1, len(texels.colour) // SAMPLES)
    position, normal = texels.position[:, ::step].copy(), texels.normal[:, ::step].copy()
    seen = np.full((len(cameras), position.shape[1], 4), np.nan, np.float32)

    def examine(number: int, image: np.ndarray, counts: np.ndarray) -> Look:
        look = get_look(vertices, faces, cameras[number], counts)
        rows, x, y, _, _, room = observe(position, normal, look)
        clear = room == 1
        grey = image.mean(-1, dtype=np.float32)
        detail = uniform_filter(np.abs(grey - uniform_filter(grey, DETAIL[0])), DETAIL[1])
        seen[number, rows[clear]] = sample(np.dstack([image, detail]), x[clear], y[clear])
        return look

    with get_threads() as pool:
        numbered = enumerate(photographs)
        looks: list[Look] = []
        while batch := list(islice(numbered, BATCH)):
            looks += pool.map(lambda entry: examine(entry[0], *entry[1]), batch)
    levels = np.log(np.maximum(seen, [2, 2, 2, 0.1]))  # black tells nothing of the exposure, nor a plain place of blur
    differences = np.stack([get_differences(levels[:, :, channel]) for channel in range(4)], 1)
    sharpness = np.exp(differences[:, 3])
    return looks, np.exp(-differences[:, :3]), np.minimum(sharpness / np.quantile(sharpness, 0.9), 1)


def get_differences(levels: np.ndarray) -> np.ndarray:
    """(N,): by how much each row is above the others where both are known. Medians, so that what shines or moves does
    not count.

    levels: (N, S), not a number where nothing is known
    """
    levels = levels[:, np.isfinite(levels).sum(0) > 1]
    known = np.isfinite(levels).sum(1) >= ENOUGH
    difference = np.zeros(len(levels))
    if known.any():
        common = levels[:, np.isfinite(levels[known]).any(0)]
        for _ in range(5):  # the difference of a frame that few others meet arrives step by step
            usual = np.nanmedian(common[known] - difference[known, None], 0)
            difference[known] = np.nanmedian(common[known] - usual, 1)
        difference[known] -= np.median(difference[known])
    return difference


def fill(size: tuple[int, int], place: tuple[np.ndarray, np.ndarray], colours: np.ndarray) -> np.ndarray:
    """The picture. What no chart covers has the colour of the nearest texel, since viewers filter across the edge."""
    picture = np.zeros((size[1], size[0], 3), np.uint8)
    picture[place] = np.round(colours.clip(0, 1) * 255)
    bare = np.ones(picture.shape[:2], bool)
    bare[place] = False
    if bare.all():
        return picture
    nearest = distance_transform_edt(bare, return_distances=False, return_indices=True)
    return np.asarray(picture[nearest[0], nearest[1]])


def glb(
    vertices: np.ndarray, normals: np.ndarray, atlas: Atlas, picture: np.ndarray, frames: np.ndarray | None = None
) -> bytes:
    """A binary glTF file of the mesh of an atlas, whose colours are a picture (h, w, 3) uint8. frames: (V,) uint8"""
    file = BytesIO()
    Image.fromarray(picture).save(file, "JPEG", quality=QUALITY, subsampling=0)
    attributes = {
        "POSITION": vertices[atlas.vertex].astype("<f4"),
        "NORMAL": normals[atlas.vertex].astype("<f4"),
        "TEXCOORD_0": atlas.uv.astype("<f4"),
    }
    if frames is not None:
        attributes[gltf.FRAMES] = frames[atlas.vertex, None]
    return gltf.write(attributes, atlas.faces, file.getvalue())


def make(
    vertices: np.ndarray,
    faces: np.ndarray,
    normals: np.ndarray,
    colours: np.ndarray,
    photographs: Photographs,
    largest: int,
) -> tuple[Atlas, np.ndarray]:
    """The atlas of a mesh, whose vertices have normals and colours (V, 3), and its picture (h, w, 3) uint8.

    largest: px, a side of the picture at most; it is smaller if the photographs show no more
    """
    atlas = unwrap(vertices, faces, get_density(vertices, normals, photographs.cameras), largest)
    texels = get_texels(atlas, vertices, normals, colours)
    return atlas, paint(vertices, faces, atlas, texels, photographs.cameras, photographs)
