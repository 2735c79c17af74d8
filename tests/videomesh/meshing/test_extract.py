"""From a checkpoint to mesh.ply and mesh.json: the right surface, nothing else, in the photographs' colours."""

import json
import subprocess
import sys
from pathlib import Path

import manifold3d
import numpy as np
import pytest
import trimesh

torch = pytest.importorskip("torch")

from sdfgrid import __main__ as command_line  # noqa: E402
from sdfgrid import checkpoint  # noqa: E402
from sdfgrid.model import SurfaceModel  # noqa: E402
from sdfgrid.settings import Settings  # noqa: E402
from synthetic import write_pictures  # noqa: E402
from videomesh.errors import UserError, run  # noqa: E402
from videomesh.meshing import extract, ply, surface  # noqa: E402
from videomesh.meshing.sparse_mesh import Mesh  # noqa: E402

CENTER, RADIUS = np.array([0.5, -1.0, 2.0]), 2.0  # of the region, in the world
SIZE, FOCAL, VIEWS = 96, 165.0, 12
BALL, FLOATER = np.array([0.55, -0.25, 0.0]), np.array([0.4, 0.5, 0.5])
RESOLUTION = 96


def box(points, center, half):
    q = np.abs(points - center) - half
    return np.linalg.norm(q.clip(0), axis=-1) + q.max(-1).clip(max=0)


def ball(points, center, radius):
    return np.linalg.norm(points - center, axis=-1) - radius


def made_scene(points):
    """A hollow box with a ball shut in, a ball beside it, a floater, above a ground that goes on beyond the region."""
    shut_in = ball(points, [0, 0, 0], 0.08)
    hollow = np.maximum(box(points, [0, 0, 0], [0.35, 0.3, 0.25]), -box(points, [0, 0, 0], [0.25, 0.2, 0.15]))
    ground = np.abs(points[..., 2] + 0.35) - 0.1
    parts = [hollow, shut_in, ground, ball(points, BALL, 0.2), ball(points, FLOATER, 0.05)]
    return np.min(parts, axis=0)


def painted(points):
    return 0.5 + 0.4 * np.sin(4 * points + [0, 1, 2])


def write_checkpoint(path, distance, iteration=1000):
    """A checkpoint whose field is the given distance, at the corners of a grid of 64 cells; without one, untrained."""
    settings = Settings(iterations=1000, image_size=320, seed=0, levels=[16, 64], level_starts=[0.0, 0.0])
    model = SurfaceModel(settings)
    if distance is not None:
        rows, points = model.grid.vertices(1)
        model.grid.table.data.zero_()
        model.grid.table.data[rows, 0] = torch.tensor(distance(points.double().numpy()), dtype=torch.float32)
    checkpoint.save(path, checkpoint.model_content(model, settings, torch.tensor(CENTER), RADIUS, iteration))


def camera_poses():
    """Camera-to-world in the unit sphere's frame, OpenGL axes, on two rings round the region."""
    poses = []
    for index in range(VIEWS):
        azimuth, elevation = 2 * np.pi * index / VIEWS, np.radians(20 if index % 2 else 50)
        back = np.array([np.cos(azimuth) * np.cos(elevation), np.sin(azimuth) * np.cos(elevation), np.sin(elevation)])
        right = np.cross([0, 0, 1], back) / np.cos(elevation)
        pose = np.eye(4)
        pose[:3] = np.stack([right, np.cross(back, right), back, 3 * back], 1)
        poses.append(pose)
    return poses


def photograph(pose, background=0.5, reach=3):
    """The scene from a pose, by sphere tracing: uint8 (SIZE, SIZE, 3) before a grey background.

    The ground ends where it is so far from the middle as it reaches.
    """
    y, x = np.mgrid[:SIZE, :SIZE] + 0.5
    rays = np.stack([(x - SIZE / 2) / FOCAL, -(y - SIZE / 2) / FOCAL, -np.ones_like(x)], -1) @ pose[:3, :3].T
    rays /= np.linalg.norm(rays, axis=-1, keepdims=True)
    points = pose[:3, 3] + 1.5 * rays
    for _ in range(40):
        points = points + made_scene(points)[..., None] * rays
    hit = (np.abs(made_scene(points)) < 1e-3) & (np.linalg.norm(points, axis=-1) < reach)
    return (np.where(hit[..., None], painted(points), background) * 255).round().astype(np.uint8)


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scene")
    write_checkpoint(folder / "checkpoint.pt", made_scene)
    poses = camera_poses()
    names = [f"{index:06d}.png" for index in range(VIEWS)]
    write_pictures(folder / "images.tar", {name: photograph(pose) for name, pose in zip(names, poses, strict=True)})
    frames = []
    for name, pose in zip(names, poses, strict=True):
        world = pose.copy()
        world[:3, 3] = world[:3, 3] * RADIUS + CENTER
        frames.append({"file_path": f"images/{name}", "transform_matrix": world.tolist()})
    transforms = {"fl_x": FOCAL, "fl_y": FOCAL, "cx": SIZE / 2, "cy": SIZE / 2, "w": SIZE, "h": SIZE}
    transforms |= {"sphere_center": CENTER.tolist(), "sphere_radius": RADIUS, "frames": frames}
    (folder / "transforms.json").write_text(json.dumps(transforms))
    return folder


def arguments(scene, out, **changes):
    values = {
        "checkpoint": scene / "checkpoint.pt",
        "transforms": scene / "transforms.json",
        "images": scene / "images.tar",
        "masks": scene / "masks.tar",
        "resolution": RESOLUTION,
        "crop": "none",
        "min-component": 0.01,
        "mesh": out / "mesh.ply",
        "summary": out / "mesh.json",
        "device": "cpu",
        "threads": 1,
        "refine": "never",  # the field is right
        **changes,
    }
    return [word for key, value in values.items() for word in (f"--{key.replace('_', '-')}", str(value))]


@pytest.fixture(scope="module")
def extracted(scene, tmp_path_factory):
    """(vertices in the unit frame, faces, colours 0..1, mesh.json, standard output)"""
    out = tmp_path_factory.mktemp("out") / "scene" / "mesh"
    done = subprocess.run(
        [sys.executable, "-m", "sdfgrid", "extract", *arguments(scene, out)],
        capture_output=True, text=True, env={"PYTHONPATH": str(Path(extract.__file__).parents[2]), "PATH": ""},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in out.iterdir()) == ["mesh.json", "mesh.ply"]
    vertices, faces, colours, _ = ply.read(out / "mesh.ply")
    summary = json.loads((out / "mesh.json").read_text())
    return (vertices - CENTER) / RADIUS, faces, colours / 255, summary, done.stdout


def area_of(points, faces, chosen):
    a, b, c = (points[faces[chosen][:, k]] for k in range(3))
    return np.linalg.norm(np.cross(b - a, c - a), axis=1).sum() / 2


def test_vertices_lie_on_the_surface_in_world_coordinates(extracted):
    points = extracted[0]
    distance = np.abs(made_scene(points))
    assert np.quantile(distance, 0.99) < 0.3 * 2 / 64  # the field itself is a grid of 64 cells
    assert np.linalg.norm(points, axis=1).max() == pytest.approx(0.98, abs=1e-6)


def test_the_hidden_and_the_small_are_gone_and_the_rest_is_whole(extracted):
    points, faces, _, summary, _ = extracted
    middle = points[faces].mean(1)
    assert not (box(middle, [0, 0, 0], [0.3, 0.25, 0.2]) < 0).any(), "the cavity and what is shut up in it"
    assert not (ball(middle, FLOATER, 0.1) < 0).any(), "the floater"
    assert not (middle[:, 2] < -0.42).any(), "the underside of the ground"
    top = np.abs(middle[:, 2] - 0.25) < 0.01
    assert area_of(points, faces, top) == pytest.approx(0.7 * 0.6, rel=0.05)
    beside = np.abs(ball(middle, BALL, 0.2)) < 0.01
    assert area_of(points, faces, beside) > 0.8 * 4 * np.pi * 0.2**2 * 0.85
    assert summary["components_found"] == 5
    assert summary["components"] == 1 or summary["components"] == 2


def test_faces_look_outwards(extracted):
    points, faces = extracted[:2]
    a, b, c = (points[faces[:, k]] for k in range(3))
    normal = np.cross(b - a, c - a)
    normal /= np.linalg.norm(normal, axis=1, keepdims=True)
    middle = (a + b + c) / 3
    assert (made_scene(middle + 0.01 * normal) > made_scene(middle - 0.01 * normal)).mean() > 0.99


def test_nothing_is_unused_repeated_or_flat(extracted):
    points, faces = extracted[:2]
    assert set(faces.ravel().tolist()) == set(range(len(points)))
    assert len(np.unique(np.sort(faces, 1), axis=0)) == len(faces)
    a, b, c = (points[faces[:, k]] for k in range(3))
    assert np.linalg.norm(np.cross(b - a, c - a), axis=1).min() > 0


def test_colours_are_the_photographs(extracted):
    points, _, colours, _, _ = extracted
    difference = np.abs(colours - painted(points)).mean(1)
    assert np.median(difference) < 0.02
    assert np.quantile(difference, 0.95) < 0.08


def test_the_rim_is_smooth(extracted):
    """Where the ground is cut it ends on the sphere, not in the teeth of the voxels."""
    points, faces = extracted[:2]
    edges = np.sort(np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]), 1)
    edge, uses = np.unique(edges, axis=0, return_counts=True)
    rim = np.unique(edge[uses == 1])
    rim = rim[np.abs(points[rim, 2] + 0.25) < 0.01]
    assert np.mean(np.abs(np.linalg.norm(points[rim], axis=1) - 0.98) < 1e-4) > 0.9


def test_summary(extracted):
    points, faces, _, summary, stdout = extracted
    world = points * RADIUS + CENTER
    assert (summary["vertices"], summary["faces"]) == (len(points), len(faces))
    assert summary["area"] == pytest.approx(area_of(world, faces, slice(None)), rel=1e-4)
    assert np.allclose(summary["bounding_box"], [world.min(0), world.max(0)], atol=1e-5)
    assert summary["units"] == "arbitrary"
    assert (summary["resolution"], summary["iteration"]) == (RESOLUTION, 1000)
    assert summary["voxel"] == pytest.approx(2 / RESOLUTION * RADIUS)
    edges = np.sort(np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]), 1)
    _, uses = np.unique(edges, axis=0, return_counts=True)
    assert summary["open_edges"] == (uses == 1).sum() > 0
    assert summary["euler_number"] == len(points) - len(uses) + len(faces)
    assert set(summary["seconds"]) == {"reading", "surface", "cleaning"}
    names = ["surface_size", "roundness", "shell_share"]
    names += ["largest_component", "unseen_share", "colour_spread", "colour_difference"]
    assert [check["name"] for check in summary["checks"]] == names
    keys = {"name", "meaning", "value", "unit", "worse", "warn", "fail", "verdict", "advice", "source"}
    assert all(set(check) == keys for check in summary["checks"])
    assert f"{len(points):,} vertices" in stdout


def test_the_box_of_transforms_json_bounds_the_mesh(scene, tmp_path, monkeypatch):
    transforms = json.loads((scene / "transforms.json").read_text())
    box_in_unit = np.array([[-0.5, 0.5], [-0.4, 0.4], [-0.3, 0.5]])
    transforms["aabb_range"] = (box_in_unit * RADIUS + CENTER[:, None]).tolist()
    (tmp_path / "transforms.json").write_text(json.dumps(transforms))
    monkeypatch.setattr(
        sys, "argv", ["sdfgrid", "extract", *arguments(scene, tmp_path, transforms=tmp_path / "transforms.json")]
    )
    command_line.main()
    points = (ply.read(tmp_path / "mesh.ply")[0] - CENTER) / RADIUS
    voxel = 2 / RESOLUTION
    assert (points.min(0) >= box_in_unit[:, 0] - 1e-6).all()
    assert (points.max(0) <= box_in_unit[:, 1] + voxel).all()


# --------------------------------------------------------------------------------------------------------- coverage


def extract_here(scene, out, monkeypatch, **changes):
    """What mesh.ply holds, and mesh.json."""
    monkeypatch.setattr(sys, "argv", ["sdfgrid", "extract", *arguments(scene, out, **changes)])
    command_line.main()
    return *ply.read(out / "mesh.ply"), json.loads((out / "mesh.json").read_text())


def test_a_vertex_says_how_many_photographs_see_it(scene, tmp_path, monkeypatch):
    vertices, _, _, frames, _ = extract_here(scene, tmp_path, monkeypatch)
    points = (vertices - CENTER) / RADIUS
    top = (np.abs(points[:, 2] - 0.25) < 0.01) & (np.abs(points[:, :2]) < 0.25).all(1)
    assert top.sum() > 500 and (frames[top] == VIEWS).all()
    side = (np.abs(points[:, 1] + 0.3) < 0.01) & (np.abs(points[:, 0]) < 0.2) & (np.abs(points[:, 2]) < 0.1)
    assert side.sum() > 100 and frames[side].min() >= 3 and frames[side].max() <= 0.75 * VIEWS
    assert frames.max() <= VIEWS
    mesh = trimesh.load(tmp_path / "mesh.ply", process=False)
    assert len(mesh.vertices) == len(vertices), "other programs read the file"


def test_surface_that_nobody_saw_is_closed_if_asked_for(scene, tmp_path, monkeypatch):
    crop = {"crop": "box", "crop-box": "[[-1.0, 2.0], [-2.0, 0.0], [1.0, 3.0]]"}  # cuts through ground and box
    vertices, faces, colours, frames, summary = extract_here(
        scene, tmp_path / "closed", monkeypatch, unseen="close", **crop
    )
    assert summary["open_edges"] == 0 and summary["unseen"] == "close"
    solid = manifold3d.Manifold(manifold3d.Mesh(np.array(vertices, order="C"), faces.astype(np.uint32, order="C")))
    assert solid.status() == manifold3d.Error.NoError and solid.volume() > 0
    _, _, _, seen_before, open_summary = extract_here(scene, tmp_path / "open", monkeypatch, **crop)
    assert open_summary["open_edges"] > 0 and open_summary["unseen"] == "remove"
    assert (frames == 0).sum() > (seen_before == 0).sum(), "no photograph sees what closes a hole"
    assert np.isfinite(vertices).all() and colours.std() > 20


# ------------------------------------------------------------------------------------------------------- refinement


@pytest.mark.parametrize("refine", ["auto", "always"])
def test_vertices_move_to_where_the_photographs_agree(scene, tmp_path, monkeypatch, capsys, refine):
    before, _, _, _, summary = extract_here(scene, tmp_path / "before", monkeypatch, refine="never")
    assert summary["refined"] is None and "refined" not in capsys.readouterr().out
    vertices, _, _, _, summary = extract_here(scene, tmp_path / "after", monkeypatch, refine=refine)
    refined, pixel = summary["refined"], 3 * RADIUS / FOCAL  # of a photograph, in the world
    assert 0 < refined["known_share"] < 1
    assert 0 < refined["moved"] == pytest.approx(refined["moved_px"] * pixel, rel=0.3)
    share, moved = 100 * refined["known_share"], refined["moved_px"]
    words = f"refined: photographs agree on {share:.0f} % of the surface; vertices moved by {moved:.2f} px"
    assert words in capsys.readouterr().out.splitlines()
    distance = [np.abs(made_scene((points - CENTER) / RADIUS)).mean() for points in (before, vertices)]
    assert distance[0] < distance[1] < 0.3 * pixel / RADIUS, "it was right before, and is nearly right after"


# --------------------------------------------------------------------------------------------- colours that are checked


def judge_colours(scene, out, monkeypatch, photographs):
    """The entry of mesh.json of a mesh with other photographs, in the order of the poses."""
    out.mkdir()
    names = [f"{index:06d}.png" for index in range(VIEWS)]
    write_pictures(out / "images.tar", dict(zip(names, photographs, strict=True)))
    *_, summary = extract_here(scene, out, monkeypatch, images=out / "images.tar")
    return next(check for check in summary["checks"] if check["name"] == "colour_difference")


def test_the_background_has_any_colour(scene, tmp_path, monkeypatch):
    """What the photographs show beside the mesh tells nothing of the mesh's colours."""
    photographs = [photograph(pose, background=1.0, reach=1) for pose in camera_poses()]
    found = judge_colours(scene, tmp_path / "out", monkeypatch, photographs)
    assert found["verdict"] == "pass" and 0 < found["value"] < 20


def test_photographs_that_do_not_show_the_mesh_are_warned_of(scene, tmp_path, monkeypatch):
    """As with wrong poses: each vertex has the mean of colours that have nothing to do with each other."""
    shuffled = [photograph(camera_poses()[(5 * index + 3) % VIEWS]) for index in range(VIEWS)]
    found = judge_colours(scene, tmp_path / "out", monkeypatch, shuffled)
    assert found["verdict"] == "warn" and found["value"] > 40


# ------------------------------------------------------------------------------------------------------------ masks


def mask(pose):
    """uint8 (SIZE, SIZE): 255 where a photograph from the pose shows the hollow box or the ball beside it, else 0."""
    y, x = np.mgrid[:SIZE, :SIZE] + 0.5
    rays = np.stack([(x - SIZE / 2) / FOCAL, -(y - SIZE / 2) / FOCAL, -np.ones_like(x)], -1) @ pose[:3, :3].T
    rays /= np.linalg.norm(rays, axis=-1, keepdims=True)
    points, nearest = pose[:3, 3] + 1.5 * rays, np.full(x.shape, np.inf)
    for _ in range(40):
        distance = subject(points)
        nearest = np.minimum(nearest, distance)
        points = points + distance[..., None] * rays
    return np.where(nearest < 1e-3, 255, 0).astype(np.uint8)


def subject(points):
    return np.minimum(box(points, [0, 0, 0], [0.35, 0.3, 0.25]), ball(points, BALL, 0.2))


@pytest.fixture(scope="module")
def masks():
    return np.stack([mask(pose) for pose in camera_poses()])


def extract_masked(scene, tmp_path, monkeypatch, masks, **changes):
    """Vertices, colours and mesh.json of the scene with masks, None for a photograph without one."""
    names = [None if mask is None else f"{index:06d}.png" for index, mask in enumerate(masks)]
    write_pictures(tmp_path / "masks.tar", {name: mask for name, mask in zip(names, masks, strict=True) if name})
    transforms = json.loads((scene / "transforms.json").read_text())
    for frame, name in zip(transforms["frames"], names, strict=True):
        frame.update({"mask_path": f"masks/{name}"} if name else {})
    (tmp_path / "transforms.json").write_text(json.dumps(transforms))
    files = {name.split(".")[0]: tmp_path / name for name in ("transforms.json", "masks.tar")}
    monkeypatch.setattr(
        sys, "argv", ["sdfgrid", "extract", *arguments(scene, tmp_path / "out", **{**files, **changes})]
    )
    command_line.main()
    vertices, _, colours, _ = ply.read(tmp_path / "out" / "mesh.ply")
    return (vertices - CENTER) / RADIUS, colours / 255, json.loads((tmp_path / "out" / "mesh.json").read_text())


def test_no_surface_outside_of_the_subject(scene, tmp_path, monkeypatch, masks, capsys):
    """Neither the ground nor the floater; all of the box and the ball."""
    points, _, summary = extract_masked(scene, tmp_path, monkeypatch, masks)
    assert subject(points).max() < 0.1, "as near as 12 photographs tell"
    assert points[:, 2].min() > -0.35, "at most the ground right below"
    for part in (box(points, [0, 0, 0], [0.35, 0.3, 0.25]), ball(points, BALL, 0.2)):
        assert (np.abs(part) < 0.01).sum() > 1000
    assert summary["masked_share"] > 0.5
    assert f"masks: {100 * summary['masked_share']:.3g} % of the area is not the subject" in capsys.readouterr().out


def test_without_masks_nothing_is_cut_and_the_summary_says_so(extracted):
    assert extracted[3]["masked_share"] is None


@pytest.mark.parametrize("wrong", ["white", "black", "none"])
def test_a_wrong_mask_among_good_ones_takes_nothing_away(scene, tmp_path, monkeypatch, masks, wrong):
    good = extract_masked(scene, tmp_path, monkeypatch, masks)[2]
    changed = [*masks]
    changed[5] = {"white": np.full_like(masks[5], 255), "black": np.zeros_like(masks[5]), "none": None}[wrong]
    summary = extract_masked(scene, tmp_path, monkeypatch, changed)[2]
    assert summary["area"] == pytest.approx(good["area"], rel=0.1)


def test_unknown_pixels_cut_nothing_and_lend_no_colour(scene, tmp_path, monkeypatch):
    """What no image shows is grey in it."""
    unknown = np.full((VIEWS, SIZE, SIZE), 255, np.uint8)
    unknown[:, :, : SIZE // 2] = 128
    images = [photograph(pose) for pose in camera_poses()]
    for image in images:
        image[:, : SIZE // 2] = 255
    names = [f"{index:06d}.png" for index in range(VIEWS)]
    write_pictures(tmp_path / "images.tar", dict(zip(names, images, strict=True)))
    points, colours, summary = extract_masked(scene, tmp_path, monkeypatch, unknown, images=tmp_path / "images.tar")
    assert summary["masked_share"] is None
    difference = np.abs(colours - painted(points)).mean(1)
    assert np.median(difference) < 0.02 and np.quantile(difference, 0.9) < 0.08


def test_masks_of_nothing_are_named(scene, tmp_path, monkeypatch, masks):
    with pytest.raises(UserError, match=r"all of the surface lies where the masks in .*masks\.tar .* masks to ignore"):
        extract_masked(scene, tmp_path, monkeypatch, np.zeros_like(masks))


def test_a_ball_with_masks_is_no_untrained_sphere(scene, tmp_path, monkeypatch):
    """Cut to the masks it is still round, so it is round."""
    write_checkpoint(tmp_path / "ball.pt", lambda points: ball(points, [0, 0, 0], 0.4))
    monkeypatch.setattr(sys.modules[__name__], "subject", lambda points: ball(points, [0, 0, 0], 0.4))
    round_masks = [mask(pose) for pose in camera_poses()]
    summary = extract_masked(scene, tmp_path, monkeypatch, round_masks, checkpoint=tmp_path / "ball.pt")[2]
    assert summary["masked_share"] < 0.02


# ------------------------------------------------------------------------------------------------------- bad inputs


def fails(scene, out, monkeypatch, capsys, **changes):
    """The message of a run that must fail: one line on stderr, exit code 1, nothing written."""
    monkeypatch.setattr(sys, "argv", ["sdfgrid", "extract", *arguments(scene, out, **changes)])
    with pytest.raises(SystemExit) as stopped:
        run(command_line.main)
    message = f"{capsys.readouterr().err}{stopped.value.code}\n"
    assert message.startswith("error: ") and message.count("\n") == 1
    assert not out.exists() or not list(out.iterdir())
    return message


@pytest.fixture
def failing(scene, tmp_path, monkeypatch, capsys):
    return lambda **changes: fails(scene, tmp_path / "out", monkeypatch, capsys, **changes)


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"threads": 0}, ["--threads 0"]),
        ({"checkpoint": "nowhere/checkpoint.pt"}, ["nowhere/checkpoint.pt", "no such file"]),
        ({"checkpoint": __file__}, [__file__, "not a checkpoint"]),
        ({"transforms": "nowhere/transforms.json"}, ["nowhere/transforms.json", "no such file"]),
        ({"images": "nowhere/images.tar"}, ["nowhere/images.tar", "no such file"]),
    ],
)
def test_bad_arguments(failing, changes, words):
    message = failing(**changes)
    assert all(word in message for word in words)


@pytest.mark.parametrize(
    "distance, words",
    [
        (lambda p: np.ones(p.shape[:-1]), ["size of a quick mesh", "is 0 vertices and should be at least 500"]),
        (lambda p: -np.ones(p.shape[:-1]), ["is 0 vertices and should be at least 500"]),
        (None, ["a sphere", "should be at least 0.05"]),
        (lambda p: 0.995 - np.linalg.norm(p, axis=-1), ["a sphere"]),
        (
            lambda p: np.minimum(ball(p, [0.3, 0, 0], 0.4), np.abs(np.linalg.norm(p, axis=-1) - 0.995) - 0.004),
            ["on the region's sphere", "should be at most 30 %"],
        ),
    ],
    ids=["empty", "solid", "untrained", "shell", "ball in a shell"],
)
def test_no_usable_surface(failing, tmp_path, distance, words):
    write_checkpoint(tmp_path / "bad.pt", distance, iteration=7)
    message = failing(checkpoint=tmp_path / "bad.pt")
    assert str(tmp_path / "bad.pt") in message
    assert "after 7 iterations" in message and "train.iterations" in message and "region.png" in message
    assert all(word in message for word in words)


def test_values_that_are_not_finite(failing, tmp_path):
    write_checkpoint(tmp_path / "nan.pt", lambda p: np.where(p[:, 0] > 0.5, np.nan, p[:, 0]))
    message = failing(checkpoint=tmp_path / "nan.pt")
    assert "not finite" in message and "train.seed" in message


def change_transforms(scene, tmp_path, change):
    transforms = json.loads((scene / "transforms.json").read_text())
    change(transforms)
    (tmp_path / "changed.json").write_text(json.dumps(transforms))
    return tmp_path / "changed.json"


def turn_away(transforms):
    for frame in transforms["frames"]:
        for row in frame["transform_matrix"][:3]:
            row[0], row[2] = -row[0], -row[2]  # half a turn about the camera's own vertical axis


@pytest.mark.parametrize(
    "change, words",
    [
        (lambda t: t.update(sphere_radius=3.0), ["trained on the region", "radius 2", "changed.json", "3"]),
        (lambda t: t.update(sphere_center=[0, 0, 0]), ["trained on the region", "[0.5, -1.0, 2.0]", "[0.0, 0.0, 0.0]"]),
        (turn_away, ["no face of the mesh is seen by 2 of 12 photographs", "changed.json"]),
        (lambda t: t.update(aabb_range="all"), ["aabb_range is 'all'", "[low, high]"]),
        (lambda t: t.update(aabb_range=[[0, 1]]), ["aabb_range"]),
        (lambda t: t.update(aabb_range=[[90, 91]] * 3), ["aabb_range", "beyond 0.98 of the region"]),
        (lambda t: t.update(aabb_range=[[1, 0]] * 3), ["aabb_range", "empty"]),
        (lambda t: t.update(aabb_range=[[1.06, 1.14], [-1.04, -0.96], [1.96, 2.04]]), ["no surface", "aabb_range"]),
        (lambda t: t["frames"][3].update(file_path="images/gone.png"), ["images.tar", "gone.png"]),
        (lambda t: t.update(w=SIZE * 2), ["96 x 96", "192 x 96"]),
        (lambda t: t.pop("fl_x"), ["changed.json", "fl_x"]),
    ],
)  # fmt: skip
def test_transforms_that_do_not_fit(failing, scene, tmp_path, change, words):
    message = failing(transforms=change_transforms(scene, tmp_path, change))
    assert all(word in message for word in words), message


def test_a_mesh_too_large_for_the_memory(monkeypatch):
    monkeypatch.setattr(extract, "available_memory", lambda device: 2_000_000_000)
    extract.check_memory(100_000, 512, torch.device("cpu"))
    with pytest.raises(UserError, match=r"--resolution 2048: about 25.6 million .* 15.4 GB .* 2.0 GB .* at most 608,"):
        extract.check_memory(100_000, 2048, torch.device("cpu"))


def test_warnings_are_printed(scene, tmp_path, monkeypatch, capsys):
    names = [f"{index:06d}.png" for index in range(VIEWS)]
    write_pictures(tmp_path / "grey.tar", {name: np.full((SIZE, SIZE, 3), 90, np.uint8) for name in names})
    monkeypatch.setattr(
        sys, "argv", ["sdfgrid", "extract", *arguments(scene, tmp_path / "out", images=tmp_path / "grey.tar")]
    )
    command_line.main()
    assert "warning: colour_spread is" in capsys.readouterr().out
    summary = json.loads((tmp_path / "out" / "mesh.json").read_text())
    assert summary["verdict"] == "warn"
    assert next(check for check in summary["checks"] if check["name"] == "colour_spread")["verdict"] == "warn"


# ----------------------------------------------------------------------------------------------------------- pieces


def strip(count, shuffled=None):
    """A strip of triangles over `count` vertices in a row, numbered in any order."""
    order = torch.arange(count) if shuffled is None else torch.randperm(count, generator=shuffled)
    vertices = torch.zeros(count, 3, dtype=torch.float64)
    vertices[order, 0] = torch.arange(count, dtype=torch.float64)
    vertices[order, 1] = torch.arange(count, dtype=torch.float64) % 2
    row = torch.arange(count - 2)
    return Mesh(vertices, order[torch.stack([row, row + 1, row + 2], -1)])


def test_components_of_long_chains():
    generator = torch.Generator().manual_seed(0)
    one, two = strip(5000, generator), strip(300, generator)
    mesh = Mesh(torch.cat([one.vertices, two.vertices]), torch.cat([one.faces, two.faces + 5000]))
    label = surface.components(mesh)
    assert len(label[:5000].unique()) == 1 and len(label[5000:].unique()) == 1 and label[0] != label[-1]
    large, count = surface.large_components(mesh, 0.1)
    assert count == 2 and int((~large).sum()) == 298


def test_crop_cuts_faces_exactly():
    """A flat grid of triangles cut by a ball is a disc: its area, one side, and a rim on the ball."""
    steps = torch.linspace(-1, 1, 41, dtype=torch.float64)
    x, y = torch.meshgrid(steps, steps, indexing="ij")
    vertices = torch.stack([x, y, torch.zeros_like(x)], -1).view(-1, 3)
    corner = (torch.arange(40)[:, None] * 41 + torch.arange(40)).reshape(-1)
    halves = (corner, corner + 41, corner + 42), (corner, corner + 42, corner + 1)
    disc = surface.crop_to_ball(Mesh(vertices, torch.cat([torch.stack(half, -1) for half in halves])), 0.777)
    assert float(surface.face_areas(disc).sum()) == pytest.approx(np.pi * 0.777**2, rel=1e-3)
    assert (surface.vertex_normals(disc)[:, 2] > 0.999).all()
    shape = surface.topology(disc)
    assert (shape.components, shape.euler_number) == (1, 1)
    edges = np.sort(np.concatenate([disc.faces[:, [0, 1]], disc.faces[:, [1, 2]], disc.faces[:, [2, 0]]]), 1)
    edge, uses = np.unique(edges, axis=0, return_counts=True)
    assert (uses == 1).sum() == shape.open_edges
    rim = disc.vertices[torch.tensor(np.unique(edge[uses == 1]))].norm(dim=-1)
    assert float((rim - 0.777).abs().max()) < 2 * 0.05**2 / 8 / 0.777  # the height of a chord as long as a diagonal


def test_a_photograph_colours_only_what_it_sees():
    """Two squares, one behind the other: the far one takes no colour from the near one's photograph, nor does a side
    seen from behind."""
    steps = torch.linspace(-0.5, 0.5, 65, dtype=torch.float64)
    x, y = torch.meshgrid(steps, steps, indexing="ij")
    corner = (torch.arange(64)[:, None] * 65 + torch.arange(64)).reshape(-1)
    halves = (corner, corner + 65, corner + 66), (corner, corner + 66, corner + 1)
    faces = torch.cat([torch.stack(half, -1) for half in halves])
    near, far, away = (
        torch.stack([x + dx, y, torch.full_like(x, z)], -1).view(-1, 3) for dx, z in ((0, 0.5), (0, 0), (1.5, 0))
    )
    count = len(near)
    mesh = Mesh(torch.cat([near, far, away]), torch.cat([faces, faces + count, faces.flip(1) + 2 * count]))
    cam_from_unit = torch.tensor([[1.0, 0, 0, 0], [0, -1, 0, 0], [0, 0, -1, 3]])[None]  # at z = 3, looking down
    views = surface.Views(cam_from_unit, (100.0, 100.0), (64.0, 64.0), (256, 128))
    image = torch.tensor([200, 100, 50], dtype=torch.uint8).expand(128, 256, 3)
    everywhere = torch.ones(128, 256, dtype=torch.bool)
    seen, colour, weight, spread = surface.observe(mesh, views, [image], [everywhere], 1 / 64)
    assert float(spread.max()) < 1e-3, "all shows one colour"
    assert (seen[:count] == 1).all()
    assert torch.allclose(colour[:count] * 255, torch.tensor([200.0, 100, 50]), atol=0.01)
    hidden = far[:, :2].abs().max(-1).values < 0.4  # the near square's shadow, without its outline
    assert hidden.sum() > 1000 and (seen[count : 2 * count][hidden] == 0).all()
    assert (weight[count : 2 * count][hidden] == 0).all()
    assert (seen[2 * count :] == 0).all()
