"""Photographs -> the picture of a mesh: what lies between the vertices, from the frames that show it best."""

import io
import tarfile
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import trimesh
from PIL import Image
from scipy.ndimage import gaussian_filter

from videomesh.meshing import texture, web
from videomesh.meshing.raster import Pinhole, draw_mesh, interpolate, sample
from videomesh.scene import Scene, read_scene, write_scene

SIZE, FOCAL = 160, 300.0
GROUND = -1.0  # height of the plane under the ball, of radius 1


class Mesh(NamedTuple):
    vertices: np.ndarray
    faces: np.ndarray
    normals: np.ndarray
    colours: np.ndarray


class Frames:
    """What Photographs is, with pictures in memory."""

    def __init__(
        self, cameras: list[Pinhole], images: list[np.ndarray], counts: list[np.ndarray] | None = None
    ) -> None:
        self.cameras, self.images = cameras, images
        self.counts = counts or [np.ones(image.shape[:2], bool) for image in images]

    def __iter__(self):
        return zip(self.images, self.counts, strict=True)


def painted(points: np.ndarray) -> np.ndarray:
    """A pattern with 25 waves round the ball: finer than the vertices of the mesh."""
    return 0.5 + 0.4 * np.sin(25 * points + [0, 1, 2])


def make_camera(azimuth: float, elevation: float = 0.3, distance: float = 6.0) -> Pinhole:
    back = np.array([np.cos(azimuth) * np.cos(elevation), np.sin(azimuth) * np.cos(elevation), np.sin(elevation)])
    right = np.array([-np.sin(azimuth), np.cos(azimuth), 0.0])
    pose = np.eye(4)
    pose[:3, :3] = np.stack([right, np.cross(-back, right), -back])
    pose[2, 3] = distance
    return Pinhole(pose, (FOCAL, FOCAL), (SIZE / 2, SIZE / 2), (SIZE, SIZE))


def photograph(camera: Pinhole) -> np.ndarray:
    """The ball on its plane before black, by intersection with rays: (SIZE, SIZE, 3) uint8."""
    y, x = np.mgrid[:SIZE, :SIZE] + 0.5
    rays = np.stack([(x - SIZE / 2) / FOCAL, (y - SIZE / 2) / FOCAL, np.ones_like(x)], -1)
    rays = rays @ camera.cam_from_world[:3, :3] / np.linalg.norm(rays, axis=-1, keepdims=True)
    centre = texture.get_centre(camera)
    middle = -(rays @ centre)
    inside = middle**2 - centre @ centre + 1
    ball = np.where(inside > 0, middle - np.sqrt(np.maximum(inside, 0)), np.inf)
    with np.errstate(divide="ignore"):
        plane = (GROUND - centre[2]) / rays[..., 2]
    points = centre + np.minimum(ball, np.where(plane > 0, plane, np.inf)).clip(max=1e3)[..., None] * rays
    colours = np.where((np.abs(points) < 2).all(-1, keepdims=True), painted(points), 0)
    colours = np.where((ball == np.inf)[..., None], colours * [1, 0.2, 0.2], colours)  # the plane is red
    return np.round(colours * 255).astype(np.uint8)


CAMERAS = [make_camera(azimuth) for azimuth in np.linspace(0, 2 * np.pi, 16, endpoint=False)]
IMAGES = [photograph(camera) for camera in CAMERAS]


@pytest.fixture(scope="module")
def ball() -> Mesh:
    mesh = trimesh.creation.icosphere(subdivisions=3)
    vertices = np.array(mesh.vertices)
    return Mesh(vertices, np.array(mesh.faces), vertices, painted(vertices))


def render(mesh: Mesh, atlas: texture.Atlas, picture: np.ndarray, camera: Pinhole) -> tuple[np.ndarray, np.ndarray]:
    """Colours (n, 3) in 0..1 of the pixels that show the mesh, and which these are."""
    raster = draw_mesh(mesh.vertices[atlas.vertex], atlas.faces, camera)
    uv = interpolate(raster, atlas.uv, atlas.faces)
    return sample(picture / 255, *(uv * atlas.size).T), raster.face >= 0


def psnr(difference: np.ndarray) -> float:
    return float(-10 * np.log10((difference**2).mean()))


def make(mesh: Mesh, frames: Frames, largest: int = 1024) -> tuple[texture.Atlas, np.ndarray]:
    return texture.make(mesh.vertices, mesh.faces, mesh.normals, mesh.colours, frames, largest)


def error(mesh: Mesh, frames: Frames) -> float:
    """PSNR from a place between two frames, away from the outline."""
    atlas, picture = make(mesh, frames)
    camera = make_camera(0.2)
    found, shown = render(mesh, atlas, picture, camera)
    inner = np.linalg.norm(np.argwhere(shown) + 0.5 - SIZE / 2, axis=1) < 42
    return psnr((found - photograph(camera)[shown] / 255)[inner])


def test_a_picture_shows_what_lies_between_the_vertices(ball: Mesh) -> None:
    camera = make_camera(0.2)
    raster = draw_mesh(ball.vertices, ball.faces, camera)
    shown = raster.face >= 0
    inner = np.linalg.norm(np.argwhere(shown) + 0.5 - SIZE / 2, axis=1) < 42
    vertices_only = psnr((interpolate(raster, ball.colours, ball.faces) - photograph(camera)[shown] / 255)[inner])
    assert error(ball, Frames(CAMERAS, IMAGES)) > max(28, vertices_only + 6)


def test_blurred_frames_and_other_exposures_do_not_show(ball: Mesh, monkeypatch: pytest.MonkeyPatch) -> None:
    images = [image.astype(float) for image in IMAGES]
    images[0] = gaussian_filter(images[0], (4, 4, 0))
    images[2] = gaussian_filter(images[2], (3, 3, 0))
    images[1] *= [0.7, 0.75, 0.8]
    images[15] *= 1.1
    frames = Frames(CAMERAS, [image.clip(0, 255).round().astype(np.uint8) for image in images])
    assert error(ball, frames) > 30
    atlas = texture.unwrap(ball.vertices, ball.faces, 40, 1024)
    texels = texture.get_texels(atlas, ball.vertices, ball.normals, ball.colours)
    _, gains, sharpness = texture.compare(ball.vertices, ball.faces, texels, CAMERAS, frames)
    assert np.allclose(gains[1], 1 / np.array([0.7, 0.75, 0.8]), rtol=0.05)
    assert np.allclose(gains[4:12], 1, atol=0.05)
    assert sharpness[0] < 0.6 and sharpness[2] < 0.7 and sharpness[4:12].min() > 0.7
    compare = texture.compare
    monkeypatch.setattr(texture, "compare", lambda *given: (compare(*given)[0], gains * 0 + 1, sharpness * 0 + 1))
    assert error(ball, frames) < 25


def test_what_hides_the_surface_leaves_no_colour_on_it(ball: Mesh) -> None:
    """The plane behind the ball is red. The ball is not in its picture."""
    side = np.linspace(-1.9, 1.9, 40)
    x, y = (part.ravel() for part in np.meshgrid(side, side))
    plane = np.stack([x, y, np.full_like(x, GROUND)], 1)
    corner = (np.arange(39)[:, None] * 40 + np.arange(39)).ravel() + len(ball.vertices)
    faces = [
        ball.faces,
        np.stack([corner, corner + 1, corner + 41], 1),
        np.stack([corner, corner + 41, corner + 40], 1),
    ]
    vertices = np.concatenate([ball.vertices, plane])
    both = Mesh(
        vertices, np.concatenate(faces), np.concatenate([ball.normals, plane * 0 + [0, 0, 1]]), vertices * 0 + [1, 0, 0]
    )
    atlas, picture = make(both, Frames(CAMERAS, IMAGES))
    texels = texture.get_texels(atlas, both.vertices, both.normals, both.vertices)
    on_plane = texels.normal[2] > 0.99999
    on_plane &= np.abs(texels.colour[:, 2] - GROUND) < 1e-6
    found = picture[texels.place][on_plane] / 255
    expected = painted(texels.colour[on_plane]) * [1, 0.2, 0.2]
    seen = np.linalg.norm(texels.colour[on_plane, :2], axis=1) > 0.7
    assert seen.sum() > 1000
    others = (found[:, 1:] > 0.35).any(1)  # green and blue are the ball's
    assert others.mean() < 0.002 and not others[seen].any()
    assert np.abs(found - expected)[seen].mean() < 0.05


def test_what_masks_leave_out_leaves_no_colour(ball: Mesh) -> None:
    images, counts = [image.copy() for image in IMAGES], []
    for number, image in enumerate(images):
        hand = np.zeros(image.shape[:2], bool)
        hand[:, number * 10 : number * 10 + 40] = number % 2
        image[hand] = [0, 255, 0]
        counts.append(~hand)
    plain = error(ball, Frames(CAMERAS, IMAGES))
    assert error(ball, Frames(CAMERAS, images, counts)) > plain - 3 > error(ball, Frames(CAMERAS, images))


def test_where_no_frame_looks_the_vertices_have_the_colour(ball: Mesh) -> None:
    atlas, picture = make(ball, Frames(CAMERAS, IMAGES))
    texels = texture.get_texels(atlas, ball.vertices, ball.normals, ball.colours)
    below = texels.normal[2] < -0.99
    assert below.sum() > 5
    assert np.abs(picture[texels.place][below] / 255 - texels.colour[below]).max() < 0.01
    away = [make_camera(0)._replace(principal=(9e9, 9e9))]
    atlas, picture = make(ball, Frames(away, IMAGES[:1]), 64)
    texels = texture.get_texels(atlas, ball.vertices, ball.normals, ball.colours)
    assert np.abs(picture[texels.place] / 255 - texels.colour).max() < 0.01


@pytest.mark.parametrize("scale, offset", [(1, 0), (1e-4, 7), (1e5, -3e5)])
def test_charts_lie_apart_in_the_picture_whatever_the_unit(ball: Mesh, scale: float, offset: float) -> None:
    atlas = texture.unwrap(ball.vertices * scale + offset, ball.faces, 60 / scale, 4096)
    assert np.allclose(ball.vertices[atlas.vertex][atlas.faces], ball.vertices[ball.faces], atol=0)
    assert (atlas.uv >= 0).all() and (atlas.uv <= 1).all()
    a, b, c = (atlas.uv * atlas.size)[atlas.faces].transpose(1, 0, 2)
    (x, y), (z, w) = (b - a).T, (c - a).T
    flat = np.abs(x * w - y * z) / 2
    assert flat.sum() == pytest.approx(4 * np.pi * 60**2, rel=0.2)
    texels = texture.get_texels(atlas, ball.vertices, ball.normals, ball.colours)
    assert len(texels.colour) == pytest.approx(flat.sum(), rel=0.05), "where charts overlap, texels are fewer"


def test_a_picture_is_no_larger_than_asked_for(ball: Mesh) -> None:
    for largest in (1, 7, 100):
        atlas = texture.unwrap(ball.vertices, ball.faces, 1e4, largest)
        assert max(atlas.size) <= largest


def test_a_triangle_smaller_than_a_texel_has_one(ball: Mesh) -> None:
    atlas = texture.unwrap(ball.vertices, ball.faces, 4, 4096)
    texels = texture.get_texels(atlas, ball.vertices, ball.normals, ball.vertices)
    picture = texture.fill(atlas.size, texels.place, texels.colour * 0.5 + 0.5) / 255
    covered = np.zeros(picture.shape[:2], bool)
    covered[texels.place] = True
    column, row = (atlas.uv * atlas.size).astype(int).clip(0, np.array(atlas.size) - 1).T
    assert covered[row, column].all()
    distance = np.abs(picture[row, column] - (ball.vertices[atlas.vertex] * 0.5 + 0.5)).max(1)
    assert np.quantile(distance, 0.99) < 0.25, "a texel is a quarter of the radius"


def test_pieces_are_small_and_complete() -> None:
    middles = np.random.default_rng(0).random((7001, 3))
    pieces = texture.split(middles, np.arange(7001))
    assert max(map(len, pieces)) <= texture.PIECE
    assert sorted(np.concatenate(pieces).tolist()) == list(range(7001))


def test_other_programs_read_the_picture(ball: Mesh, tmp_path: Path) -> None:
    atlas, picture = make(ball, Frames(CAMERAS, IMAGES))
    (tmp_path / "mesh.glb").write_bytes(texture.glb(ball.vertices, ball.normals, atlas, picture))
    mesh = trimesh.load(tmp_path / "mesh.glb", force="mesh", process=False)
    assert mesh.visual.kind == "texture" and mesh.visual.material.baseColorTexture.size == atlas.size
    assert len(mesh.faces) == len(ball.faces)
    colours = mesh.visual.to_color().vertex_colors[:, :3] / 255
    middle = np.abs(ball.vertices[atlas.vertex][:, 2]) < 0.6
    assert np.abs(colours - painted(ball.vertices)[atlas.vertex])[middle].mean() < 0.06


def test_frames_of_a_scene(tmp_path: Path) -> None:
    """They come in the order of their cameras, whatever the number that is read together."""
    names = [f"{number:06d}.png" for number in range(texture.BATCH + 3)]
    with tarfile.open(tmp_path / "images.tar", "w") as tar:
        for number, name in enumerate(names):
            file = io.BytesIO()
            Image.new("RGB", (8, 6), (number, 0, 0)).save(file, "PNG")
            member = tarfile.TarInfo(name)
            member.size = len(file.getvalue())
            tar.addfile(member, io.BytesIO(file.getvalue()))
    poses = np.tile(np.eye(4), (len(names), 1, 1))
    poses[:, 0, 3] = np.arange(len(names))
    scene = Scene(Path("t"), names, 8, 6, (9.0, 9.0), (4.0, 3.0), [], poses, np.zeros(3), 1.0, None)
    write_scene(tmp_path / "transforms.json", scene, [{"video_frame": 0, "time": 0.0}] * len(names))
    frames = texture.Photographs(read_scene(tmp_path / "transforms.json"), tmp_path / "images.tar", tmp_path / "none")
    for _ in range(2):
        assert [int(image[0, 0, 0]) for image, counts in frames if counts.all()] == list(range(len(names)))
    assert [camera.cam_from_world[0, 3] for camera in frames.cameras] == [-number for number in range(len(names))]


def test_vertices_hold_less_on_a_coarse_mesh_and_the_picture_as_much(ball: Mesh) -> None:
    vertices, faces = web.simplify(ball.vertices, ball.faces, 400)
    coarse = Mesh(vertices, faces, web.vertex_normals(vertices, faces), painted(vertices))
    assert error(coarse, Frames(CAMERAS, IMAGES)) > 20
