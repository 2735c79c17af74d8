"""The region's rules on made captures, upstream's against numbers worked out by hand, overrides."""

import io
import json
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import synthetic_captures as made
from videomesh.files import add_to_tar
from videomesh.region.subject import Region, enclosing_ball, find_subject, guess_scene_type
from videomesh.region.together import Masks
from videomesh.region.views import find_focus, lens_from, up_direction, views_from

LENS = lens_from(made.WIDTH, made.HEIGHT, (made.FOCAL, made.FOCAL), (made.WIDTH / 2, made.HEIGHT / 2))
IDEAL_CENTER, IDEAL_RADIUS = np.array([0, 0, 0.4]), 0.6403  # ball round the box of object_on_table


def run(
    folder: Path, inputs: dict[str, Path], *options: str, picture: bool = False
) -> subprocess.CompletedProcess[str]:
    """Run region.py on a made capture; outputs go to folder/out."""
    return made.call_region(folder / "out", inputs, *options, picture=picture)


def region(folder: Path, capture: made.Capture, *options: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """transforms.json and region.json of a capture."""
    result = run(folder, made.write(folder / "in", capture), *options)
    assert result.returncode == 0, result.stderr
    return load(folder, "transforms.json"), load(folder, "region.json")


def load(folder: Path, name: str) -> dict[str, Any]:
    return json.loads((folder / "out" / name).read_text())  # type: ignore[no-any-return]


def assert_refused(result: subprocess.CompletedProcess[str], folder: Path, *words: str) -> None:
    """One message with these words, exit code 1, no traceback, nothing written."""
    assert result.returncode == 1
    assert result.stderr.startswith("error: ")
    assert "Traceback" not in result.stderr
    for word in words:
        assert word in result.stderr
    assert not list((folder / "out").glob("**/*")) if (folder / "out").exists() else True


@pytest.fixture(scope="module")
def capture_files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return made.write(tmp_path_factory.mktemp("capture"), made.object_on_table())


# ------------------------------------------------------------------------------------------------------ robust rule


ROUND = {
    "orbit": made.textured_object,
    "half": lambda: made.textured_object(180),
    "quarter": lambda: made.textured_object(90, 30),
    "eighth": lambda: made.textured_object(35, 17),
    "no_ground": lambda: made.textured_object(ground=False),
    "plain": made.plain_object,
    "plain_half": lambda: made.plain_object(180),
    "several": made.several_objects,
    "tall": made.tall_object,
    "tall_in_parts": made.tall_in_parts,
    "long_in_parts": made.long_in_parts,
    "low": made.low_object,
    "close_and_far": made.close_and_far,
    "relief": made.relief,
    "relief_of_few_degrees": lambda: made.relief(30),
}
OTHERS = {
    "facade": ("outdoor", lambda: made.inside(made.facade())),
    "street": ("outdoor", lambda: made.inside(made.street())),
    "drone": ("outdoor", made.drone),
    "room_outward": ("indoor", lambda: made.inside(made.room())),
    "room_across": ("indoor", lambda: made.inside(made.room(outward=False))),
}
KINDS = {name: ("object", make) for name, make in ROUND.items()} | OTHERS


def find_region(truth: made.Truth) -> tuple[str, Region]:
    """Scene type and region as the program finds them, with its defaults."""
    views, cloud = views_from(truth.capture.world_from_cam), made.get_cloud(truth.capture)
    focus = find_focus(views, cloud, LENS)
    scene_type = guess_scene_type(focus)
    subject = find_subject(views, cloud, LENS, scene_type, focus, up_direction(views), made.MARGIN, None)
    return scene_type, subject.region


def assert_holds(truth: made.Truth, region: Region) -> None:
    """All of the visible subject, and little else."""
    away = np.linalg.norm(truth.subject - region.center, axis=1)
    assert (away < region.radius).all(), f"{(away < region.radius).mean():.3f} inside"
    assert region.radius <= 1.6 * enclosing_ball(truth.subject)[1]


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("name", KINDS)
def test_the_region_holds_all_of_the_visible_subject_and_little_else(name: str, seed: int) -> None:
    kind, make = KINDS[name]
    truth = made.moved(make(), seed)
    scene_type, found = find_region(truth)
    assert scene_type == kind
    assert_holds(truth, found)


@pytest.mark.parametrize("name", KINDS)
def test_a_tenth_of_wrong_points_changes_little(name: str) -> None:
    kind, make = KINDS[name]
    truth = made.moved(made.with_outliers(make()), seed=3)
    scene_type, found = find_region(truth)
    assert scene_type == kind
    assert_holds(truth, found)


@pytest.mark.parametrize("name", ["orbit", "half", "quarter", "eighth", "several", "tall", "low"])
def test_without_any_point_the_region_is_what_most_pictures_show(name: str) -> None:
    truth = made.moved(made.without_points(ROUND[name]()), seed=4)
    scene_type, found = find_region(truth)
    assert scene_type == "object"
    assert_holds(truth, found)


def test_what_few_cameras_look_at_is_left_out(tmp_path: Path) -> None:
    """Another thing on the same table, behind the subject."""
    first = made.textured_object()
    cameras = first.capture.world_from_cam
    both = [((-0.4, -0.3, 0), (0.4, 0.3, 0.8)), ((1.8, -0.2, 0), (2.2, 0.2, 0.5))]
    truth = made.with_truth(cameras, both, ground=made.table(np.random.default_rng(1), 1000, 2.5))
    assert_holds(first, find_region(truth._replace(subject=first.subject))[1])


def test_masks_are_what_the_subject_is() -> None:
    """A plain thing among others that are not in the masks, on a ground with no pattern."""
    cameras = made.orbit(24)
    box = ((-0.3, -0.2, 0), (0.3, 0.2, 0.5))
    other = ((0.45, -0.2, 0), (0.75, 0.2, 0.4))
    truth = made.with_truth(cameras, [other], [box])
    surface = made.box(np.random.default_rng(0), 400, *box)
    views, cloud = views_from(cameras), made.get_cloud(truth.capture)
    focus = find_focus(views, cloud, LENS)
    masks = Masks(np.arange(24), made.draw_masks(cameras, box))
    subject = find_subject(views, cloud, LENS, "object", focus, made.UP, made.MARGIN, masks)
    away = np.linalg.norm(surface - subject.region.center, axis=1)
    assert (away < subject.region.radius).all()
    assert subject.region.radius < 1.35 * enclosing_ball(surface)[1]
    assert "masks" in subject.region.rule


def test_masks_of_a_few_close_ups_do_not_widen_the_region() -> None:
    """The subject fills their pictures. What lies before it, and no other picture shows, is white in their masks."""
    box = ((-1, -1, 0), (1, 1, 0.4))
    above = [made.look((0.1, side, 2.2), (0, 0, 0.4)) for side in (-0.1, 0.1)]
    radii = []
    for cameras in (made.orbit(24), np.concatenate([made.orbit(24), above])):
        truth = made.with_truth(cameras, [box])
        views, cloud = views_from(cameras), made.get_cloud(truth.capture)
        masks = Masks(np.arange(len(cameras)), made.draw_masks(cameras, box))
        focus = find_focus(views, cloud, LENS)
        subject = find_subject(views, cloud, LENS, "object", focus, made.UP, made.MARGIN, masks)
        radii.append(subject.region.radius)
    assert (masks.values[24:] == 255).mean() > 0.9
    assert radii[1] < 1.06 * radii[0]


def test_the_ground_is_found_and_left_out(tmp_path: Path) -> None:
    _, summary = region(tmp_path, made.object_on_table())
    assert summary["up_from"] == "plane"
    assert np.dot(summary["plane"]["normal"], made.UP) > 0.999
    assert abs(summary["plane"]["point"][2]) < 0.02


def test_the_region_follows_the_world_that_colmap_happens_to_choose(tmp_path: Path) -> None:
    truth = made.moved(made.textured_object(), seed=0)
    found, _ = region(tmp_path, truth.capture)
    turn = np.array(found["applied_transform"])
    assert np.allclose(turn @ turn.T, np.eye(3)) and np.linalg.det(turn) > 0
    away = np.linalg.norm(truth.subject @ turn.T - found["sphere_center"], axis=1)
    assert (away < found["sphere_radius"]).all()
    assert found["sphere_radius"] < 1.6 * enclosing_ball(truth.subject)[1]


def test_a_room_region_holds_walls_and_cameras(tmp_path: Path) -> None:
    transforms, summary = region(tmp_path, made.room())
    assert summary["scene_type"]["used"] == "indoor"
    distance = np.linalg.norm(made.room().world_from_cam[:, :3, 3] - transforms["sphere_center"], axis=1)
    assert (distance < transforms["sphere_radius"]).all()
    assert summary["points"]["good_inside"] == summary["points"]["good"]
    assert transforms["sphere_radius"] < 1.15 * np.linalg.norm([3, 2.5, 1.3])


def test_points_far_outside_do_not_widen_a_room(tmp_path: Path) -> None:
    capture = made.room(outward=False)
    window = np.random.default_rng(0).uniform((-5, 40, 0), (5, 60, 5), (200, 3))  # seen through a window
    transforms, _ = region(tmp_path, capture._replace(points=np.concatenate([capture.points, window])))
    assert transforms["sphere_radius"] < 1.15 * np.linalg.norm([3, 2.5, 1.3])


def test_the_margin_scales_the_robust_radius(tmp_path: Path, capture_files: dict[str, Path]) -> None:
    radii = []
    for margin in ("1.0", "1.25"):
        assert run(tmp_path, capture_files, f"--margin={margin}").returncode == 0
        radii.append(load(tmp_path, "transforms.json")["sphere_radius"])
    assert radii[1] == pytest.approx(1.25 * radii[0])


def test_a_sphere_stays_clear_of_the_cameras(tmp_path: Path, capture_files: dict[str, Path]) -> None:
    assert run(tmp_path, capture_files, "--margin=5").returncode == 0
    transforms = load(tmp_path, "transforms.json")
    places = np.array([frame["transform_matrix"] for frame in transforms["frames"]])[:, :3, 3]
    away = np.linalg.norm(places - transforms["sphere_center"], axis=1)
    assert transforms["sphere_radius"] == pytest.approx(0.95 * np.percentile(away, 5), rel=0.01)
    assert "limited by the nearest cameras" in load(tmp_path, "region.json")["rule"]


def test_near_cameras_never_cut_the_subject(tmp_path: Path) -> None:
    truth = made.with_truth(
        made.orbit(36, radius=1.1),
        [((-0.6, -0.5, 0), (0.6, 0.5, 0.7))],
        ground=made.table(np.random.default_rng(0), 900),
    )
    away = np.linalg.norm(truth.subject - find_region(truth)[1].center, axis=1)
    assert (away < find_region(truth)[1].radius).all()


def test_few_points_give_a_region_from_the_poses(tmp_path: Path) -> None:
    transforms, summary = region(tmp_path, made.object_on_table(points=4))
    assert "too few points are on it" in summary["rule"]
    corners = np.array([(x, y, z) for x in (-0.4, 0.4) for y in (-0.3, 0.3) for z in (0, 0.8)])
    away = np.linalg.norm(corners @ np.array(transforms["applied_transform"]).T - transforms["sphere_center"], axis=1)
    assert (away < transforms["sphere_radius"]).all() and transforms["sphere_radius"] < 3


@pytest.mark.parametrize(
    ("capture", "kind", "looking"),
    [
        (made.object_on_table(), "object", 1),
        (made.object_on_table(degrees=180), "object", 1),
        (made.room(), "indoor", 0),
        (made.room(outward=False), "indoor", 1),
        (made.street(), "outdoor", 0),
        (made.facade(), "outdoor", 0),
    ],
    ids=["orbit", "half", "room_outward", "room_across", "street", "facade"],
)
def test_the_scene_type_is_read_from_the_poses(tmp_path: Path, capture: made.Capture, kind: str, looking: int) -> None:
    _, summary = region(tmp_path, capture)
    assert summary["scene_type"]["given"] == "auto"
    assert summary["scene_type"]["used"] == kind
    assert summary["scene_type"]["looking_at_center"] == looking


def test_a_given_scene_type_is_used_and_the_guess_kept(tmp_path: Path, capture_files: dict[str, Path]) -> None:
    assert run(tmp_path, capture_files, "--scene-type=indoor").returncode == 0
    kind = load(tmp_path, "region.json")["scene_type"]
    assert (kind["given"], kind["used"], kind["guess"]) == ("indoor", "indoor", "object")
    assert kind["looking_at_center"] == 1


def test_masks_of_the_poses_stage_reach_transforms_json_and_the_region(tmp_path: Path) -> None:
    """A mask that only says where the picture ends (128) is no mask of the subject."""
    inputs = made.write(tmp_path / "in", made.object_on_table())
    names = [f"{3 * k:06d}" for k in range(36)]
    small = made.draw_masks(made.object_on_table().world_from_cam, ((-0.4, -0.3, 0.5), (0.4, 0.3, 0.8)))
    for number, masks in enumerate((small, np.where(small == 0, 128, 255).astype(np.uint8))):
        with tarfile.open(tmp_path / "masks.tar", "w") as tar:
            for name, mask in zip(names[1:], masks[1:], strict=True):
                data = io.BytesIO()
                Image.fromarray(mask).save(data, "PNG")
                add_to_tar(tar, f"{name}.png", data.getvalue())
        assert run(tmp_path, inputs, f"--masks={tmp_path / 'masks.tar'}").returncode == 0
        frames = load(tmp_path, "transforms.json")["frames"]
        assert "mask_path" not in frames[0] and frames[1]["mask_path"] == "masks/000003.png"
        assert ("masks" in load(tmp_path, "region.json")["rule"]) == (number == 0)
        assert (load(tmp_path, "transforms.json")["sphere_radius"] < 0.65) == (number == 0)


# ------------------------------------------------------------------------------------------------- upstream's rules

# A at the origin and B beside it look along x, C looks along y. Of the nine ordered pairs, each camera with itself
# gives its own place, A with B (parallel) the point midway between them, A with C (4, 0, 0), B with C (4, 2, 0).
THREE = np.stack(
    [made.look((0, 0, 0), (1, 0, 0)), made.look((0, 2, 0), (1, 2, 0)), made.look((4, -3, 0), (4, 0, 0))],
)
FOUR_POINTS = np.array([(0, 0, 0), (2, 0, 0), (0, 4, 0), (2, 4, 6)], float)


def in_colmaps_world(transforms: dict[str, Any], points: Any) -> np.ndarray:
    """Points of transforms.json in the world of COLMAP's model."""
    return np.asarray(points) @ np.array(transforms["applied_transform"])  # times the inverse of a rotation


def test_upstream_object_rule(tmp_path: Path) -> None:
    transforms, summary = region(tmp_path, made.Capture(THREE, FOUR_POINTS), "--method=upstream", "--scene-type=object")
    center = np.array([20, 5, 0]) / 9
    radius = (np.sqrt(400 + 25) + np.sqrt(400 + 169) + np.sqrt(256 + 1024)) / 27
    assert np.allclose(in_colmaps_world(transforms, transforms["sphere_center"]), center)
    assert transforms["sphere_radius"] == pytest.approx(radius)
    assert np.allclose(np.diff(transforms["aabb_range"], axis=1), 2 * radius)
    assert transforms["aabb_scale"] == 4  # nearest power of two of 2.97
    assert summary["upstream"]["radius_from_origin"] == pytest.approx((0 + 2 + 5) / 3)  # its mistake, NA-10


def test_upstream_indoor_rule(tmp_path: Path) -> None:
    transforms, summary = region(tmp_path, made.Capture(THREE, FOUR_POINTS), "--method=upstream", "--scene-type=indoor")
    deviation = np.array([1, 2, np.sqrt(6.75)])  # of x: 0 0 2 2, y: 0 0 4 4, z: 0 0 0 6
    turn = np.abs(transforms["applied_transform"]).argmax(1)  # a quarter turn about z: its axes are COLMAP's
    assert np.allclose(in_colmaps_world(transforms, transforms["sphere_center"]), [1, 2, 1.5])
    assert transforms["sphere_radius"] == pytest.approx(2 * np.sqrt(6.75))
    assert np.allclose(np.diff(transforms["aabb_range"], axis=1)[:, 0], 6 * deviation[turn])
    assert np.allclose(in_colmaps_world(transforms, np.mean(transforms["aabb_range"], axis=1)), [1, 2, 1.5])
    assert summary["upstream"]["radius_from_origin"] == summary["upstream"]["radius"]


def test_upstream_outdoor_rule_takes_the_points_unless_the_cameras_are_concentric(tmp_path: Path) -> None:
    transforms, _ = region(tmp_path, made.Capture(THREE, FOUR_POINTS), "--method=upstream", "--scene-type=outdoor")
    assert np.allclose(in_colmaps_world(transforms, transforms["sphere_center"]), [1, 2, 1.5])
    corners = np.array([(12, 0, 0), (10, 2, 0), (8, 0, 0), (10, -2, 0)], float)
    ring = np.stack([made.look(place, (10, 0, 0)) for place in corners])
    transforms, summary = region(
        tmp_path / "ring", made.Capture(ring, FOUR_POINTS), "--method=upstream", "--scene-type=outdoor"
    )
    assert np.allclose(in_colmaps_world(transforms, transforms["sphere_center"]), [10, 0, 0])
    assert transforms["sphere_radius"] == pytest.approx(2)
    assert summary["upstream"]["radius_from_origin"] == pytest.approx((12 + 8 + 2 * np.sqrt(104)) / 4)


# ---------------------------------------------------------------------------------------------------------- outputs


def test_transforms_json_has_upstreams_format(tmp_path: Path) -> None:
    transforms, _ = region(tmp_path, made.Capture(THREE, FOUR_POINTS), "--center=1,2,3", "--radius=5")
    cameras = {"camera_angle_x", "camera_angle_y", "fl_x", "fl_y", "cx", "cy", "w", "h", "is_fisheye"}
    distortion = {"sk_x", "sk_y", "k1", "k2", "k3", "k4", "p1", "p2"}
    world = {"applied_transform", "applied_scale", "units"}
    region_keys = {"aabb_scale", "aabb_range", "sphere_center", "sphere_radius"}
    assert set(transforms) == cameras | distortion | region_keys | world | {"frames"}
    assert transforms["camera_angle_x"] == pytest.approx(2 * np.arctan(32 / 60))
    assert transforms["camera_angle_y"] == pytest.approx(2 * np.arctan(24 / 60))
    assert [transforms[key] for key in ("fl_x", "fl_y", "cx", "cy", "w", "h")] == [60, 60, 32, 24, 64, 48]
    assert all(transforms[key] == 0 for key in distortion)
    assert transforms["is_fisheye"] is False
    assert transforms["aabb_range"] == [[-4, 6], [-3, 7], [-2, 8]]  # what is given by hand is in the upright world
    assert [frame["file_path"] for frame in transforms["frames"]] == [f"images/00000{i}.jpg" for i in (0, 3, 6)]
    assert [frame["video_frame"] for frame in transforms["frames"]] == [0, 3, 6]
    assert [frame["time"] for frame in transforms["frames"]] == [0, 0.1, 0.2]
    # The first camera looks along y. The third, at (4, -3, 0) in COLMAP's world, looks along COLMAP's y, which is -x:
    # y is right, z up, and OpenGL's third axis points back.
    assert np.allclose(transforms["applied_transform"], [[0, -1, 0], [1, 0, 0], [0, 0, 1]])
    assert (transforms["applied_scale"], transforms["units"]) == (1, "arbitrary")
    expected = [[0, 0, 1, 3], [1, 0, 0, 4], [0, 1, 0, 0], [0, 0, 0, 1]]
    assert np.allclose(transforms["frames"][2]["transform_matrix"], expected)


def test_frames_are_sorted_by_name_whatever_their_ids(tmp_path: Path) -> None:
    capture = made.object_on_table()
    inputs = made.write(tmp_path / "in", capture)
    names = [f"{3 * i:06d}.jpg" for i in range(len(capture.world_from_cam))]
    made.write_images(inputs["image-poses"], capture.world_from_cam[::-1], names[::-1])
    assert run(tmp_path, inputs).returncode == 0
    frames = load(tmp_path, "transforms.json")["frames"]
    assert [frame["file_path"] for frame in frames] == [f"images/{name}" for name in names]
    places = np.array([frame["transform_matrix"] for frame in frames])[:, :3, 3]
    transforms = load(tmp_path, "transforms.json")
    assert np.allclose(in_colmaps_world(transforms, places), capture.world_from_cam[:, :3, 3])


def test_points_npz_tells_which_frames_see_a_point(tmp_path: Path) -> None:
    capture = made.object_on_table(count=40)
    transforms, summary = region(tmp_path, capture)
    with np.load(tmp_path / "out" / "points.npz") as points:
        assert points["xyz"].dtype == np.float64
        assert np.allclose(in_colmaps_world(transforms, points["xyz"]), capture.points)
        assert points["error"].shape == points["track"].shape == points["subject"].shape == (len(capture.points),)
        assert points["observers"].dtype == np.int32 and points["observers"].shape == (len(capture.points), 12)
        seen_by_all = np.linalg.norm(capture.points - IDEAL_CENTER, axis=1) < 0.3
        observers = points["observers"][seen_by_all]
        assert (observers[:, 0] == 0).all() and (observers[:, -1] == 39).all()  # spread over the whole track
        assert (np.diff(observers, axis=1) > 0).all()
        assert (points["track"][seen_by_all] == 40).all()
        assert points["subject"].sum() == summary["points"]["subject"]
        assert set(np.unique(points["observers"])) <= set(range(-1, len(transforms["frames"])))


def test_the_picture_shows_points_inside_and_outside(tmp_path: Path, capture_files: dict[str, Path]) -> None:
    assert run(tmp_path, capture_files, picture=True).returncode == 0
    with Image.open(tmp_path / "out" / "region.png") as image:
        assert image.format == "PNG" and image.width > 1200
        colors = np.array(image.convert("RGB")).reshape(-1, 3).astype(int)
    for color in ((0xD9, 0x54, 0x1A), (0x9A, 0xA5, 0xB1), (0x1F, 0x5F, 0xA8), (0, 0, 0)):
        assert (np.abs(colors - color).max(1) < 12).sum() > 100


def test_the_same_input_gives_the_same_bytes(tmp_path: Path, capture_files: dict[str, Path]) -> None:
    for name in ("first", "second"):
        assert run(tmp_path / name, capture_files, picture=True).returncode == 0
    for name in ("transforms.json", "region.json", "region.png", "points.npz"):
        assert (tmp_path / "first/out" / name).read_bytes() == (tmp_path / "second/out" / name).read_bytes()


# --------------------------------------------------------------------------------------------- regions given by hand


def test_a_sphere_by_hand_wins_over_the_method(tmp_path: Path, capture_files: dict[str, Path]) -> None:
    assert run(tmp_path, capture_files, "--center=-0.1,0.2,0.5", "--radius=0.9", "--method=upstream").returncode == 0
    transforms, summary = load(tmp_path, "transforms.json"), load(tmp_path, "region.json")
    assert transforms["sphere_center"] == [-0.1, 0.2, 0.5]
    assert transforms["sphere_radius"] == 0.9
    assert summary["method"] == "explicit"


def test_an_override_wins_over_all(tmp_path: Path, capture_files: dict[str, Path]) -> None:
    override = tmp_path / "scene.json"
    box = [[-0.5, 0.5], [-0.4, 0.4], [0, 1]]
    override.write_text(json.dumps({"center": [0, 0, 0.5], "radius": 0.75, "aabb_range": box, "scene_type": "outdoor"}))
    options = ("--center=9,9,9", "--radius=1", "--scene-type=object", f"--override={override}")
    assert run(tmp_path, capture_files, *options).returncode == 0
    transforms, summary = load(tmp_path, "transforms.json"), load(tmp_path, "region.json")
    assert (transforms["sphere_center"], transforms["sphere_radius"]) == ([0, 0, 0.5], 0.75)
    assert transforms["aabb_range"] == box
    assert (summary["method"], summary["scene_type"]["used"]) == ("override", "outdoor")


def add_on_file(tmp_path: Path, files: dict[str, Path], **changes: Any) -> Path:
    """What the BlenderNeuralangelo add-on saves: a whole transforms.json with its own sphere and box."""
    assert run(tmp_path / "before", files).returncode == 0
    content = load(tmp_path / "before", "transforms.json")
    for frame in content["frames"]:
        del frame["video_frame"], frame["time"]
    content |= {"sphere_center": [0.01, 0.02, 0.45], "sphere_radius": 0.8}
    content |= {"aabb_range": [[-0.5, 0.5], [-0.35, 0.35], [0, 0.9]], "aabb_scale": 1.0, **changes}
    path = tmp_path / "from-blender.json"
    path.write_text(json.dumps(content))
    return path


def test_a_file_of_the_blender_add_on_overrides_the_region(tmp_path: Path, capture_files: dict[str, Path]) -> None:
    override = add_on_file(tmp_path, capture_files)
    assert run(tmp_path, capture_files, f"--override={override}").returncode == 0
    transforms = load(tmp_path, "transforms.json")
    assert (transforms["sphere_center"], transforms["sphere_radius"]) == ([0.01, 0.02, 0.45], 0.8)
    assert transforms["aabb_range"] == [[-0.5, 0.5], [-0.35, 0.35], [0, 0.9]]
    assert transforms["frames"][1]["video_frame"] == 3


def change_poses(override: Path, change: Any) -> None:
    content = json.loads(override.read_text())
    for number, frame in enumerate(content["frames"]):
        frame["transform_matrix"] = change(number, np.array(frame["transform_matrix"])).tolist()
    override.write_text(json.dumps(content))


def test_a_file_of_the_blender_add_on_for_older_poses_is_refused(
    tmp_path: Path, capture_files: dict[str, Path]
) -> None:
    override = add_on_file(tmp_path, capture_files)
    random = np.random.default_rng(0)

    def shake(number: int, pose: np.ndarray) -> np.ndarray:
        pose[:3, 3] += random.normal(0, 0.2, 3)
        return pose

    change_poses(override, shake)
    result = run(tmp_path, capture_files, f"--override={override}")
    assert_refused(result, tmp_path, str(override), ".jpg", "poses were made anew", "remove the file")


def test_a_file_of_the_same_poses_in_another_world_is_moved_to_this_one(
    tmp_path: Path, capture_files: dict[str, Path]
) -> None:
    """As saved before worlds were turned upright, or before a scale was set."""
    override = add_on_file(tmp_path, capture_files)
    turn = np.array([[0.0, 0, 1], [1, 0, 0], [0, 1, 0]])
    scale, shift = 2.5, np.array([3.0, -1, 7])

    def move(_: int, pose: np.ndarray) -> np.ndarray:
        pose[:3, :3] = turn @ pose[:3, :3]
        pose[:3, 3] = scale * turn @ pose[:3, 3] + shift
        return pose

    change_poses(override, move)
    content = json.loads(override.read_text())
    content["sphere_center"] = (scale * turn @ content["sphere_center"] + shift).tolist()
    content["sphere_radius"] *= scale
    box = scale * np.array(content["aabb_range"])
    content["aabb_range"] = (box[[2, 0, 1]] + shift[:, None]).tolist()
    override.write_text(json.dumps(content))
    assert run(tmp_path, capture_files, f"--override={override}").returncode == 0
    transforms = load(tmp_path, "transforms.json")
    assert np.allclose(transforms["sphere_center"], [0.01, 0.02, 0.45])
    assert transforms["sphere_radius"] == pytest.approx(0.8)
    assert np.allclose(transforms["aabb_range"], [[-0.5, 0.5], [-0.35, 0.35], [0, 0.9]])
    assert "moved to the present world" in load(tmp_path, "region.json")["rule"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", ["not valid JSON"]),
        ("[1, 2]", ["holds list"]),
        ('{"center": [0, 0, 0.5]}', ["'radius' is missing"]),
        ('{"radius": 1}', ["'center' is missing"]),
        ('{"centre": [0, 0, 0.5], "radius": 1}', ["unknown key 'centre'", "center, radius"]),
        ('{"center": [0, 0], "radius": 1}', ["center is [0, 0]", "three numbers"]),
        ('{"center": [0, 0, "a"], "radius": 1}', ["center is", "three numbers"]),
        ('{"center": [0, 0, true], "radius": 1}', ["center is", "three numbers"]),
        ('{"center": [0, 0, NaN], "radius": 1}', ["center is", "finite"]),
        ('{"center": [0, 0, 0.5], "radius": 0}', ["radius is 0", "above 0"]),
        ('{"center": [0, 0, 0.5], "radius": -1}', ["radius is -1", "above 0"]),
        ('{"center": [0, 0, 0.5], "radius": Infinity}', ["radius is Infinity", "finite"]),
        ('{"center": [0, 0, 0.5], "radius": "1"}', ['radius is "1"', "a number"]),
        ('{"center": [5000, 0, 0], "radius": 1}', ["center", "away from the nearest camera"]),
        ('{"center": [0, 0, 0], "radius": 1, "aabb_range": [[0, 1], [0, 1]]}', ["aabb_range is", "zmin"]),
        ('{"center": [0, 0, 0], "radius": 1, "aabb_range": [[1, 0], [0, 1], [0, 1]]}', ["below its maximum"]),
        ('{"center": [0, 0, 0], "radius": 1, "aabb_range": [[8, 9], [0, 1], [0, 1]]}', ["outside the sphere"]),
        ('{"center": [0, 0, 0], "radius": 1, "scene_type": "room"}', ["scene_type is 'room'", "indoor"]),
        ('{"sphere_center": [0, 0, 0]}', ["'sphere_radius' is missing"]),
        ('{"sphere_center": [0, 0, 0], "sphere_radius": 1, "frames": [{}]}', ["frame 0 has no file_path", "add-on"]),
        ('{"sphere_center": [0, 0, 0], "sphere_radius": 1, "frames": []}', ["none of its 0 images"]),
        ('{"sphere_center": [0, 0, 0], "sphere_radius": 1, "frames": {}}', ["frames holds dict", "add-on"]),
    ],
)
def test_a_wrong_override_is_refused(
    tmp_path: Path, capture_files: dict[str, Path], content: str, words: list[str]
) -> None:
    override = tmp_path / "scene.json"
    override.write_text(content)
    assert_refused(run(tmp_path, capture_files, f"--override={override}"), tmp_path, str(override), *words)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--center=1,2,3"], ["region.center and region.radius belong together"]),
        (["--radius=1"], ["belong together"]),
        (["--center=1,2", "--radius=1"], ["region.center", "needs three"]),
        (["--center=1,2,x", "--radius=1"], ["region.center", "'x' is not a number"]),
        (["--center=1,2,nan", "--radius=1"], ["region.center", "finite"]),
        (["--center=0,0,0", "--radius=0"], ["region.radius", "above 0"]),
        (["--center=99999,0,0", "--radius=1"], ["region.center", "away from the nearest camera"]),
        (["--override=nowhere.json"], ["nowhere.json", "no such file"]),
    ],
)
def test_wrong_options_are_refused(
    tmp_path: Path, capture_files: dict[str, Path], options: list[str], words: list[str]
) -> None:
    assert_refused(run(tmp_path, capture_files, *options), tmp_path, *words)


# ------------------------------------------------------------------------------------------------------- bad input


def test_unusable_models_are_refused(tmp_path: Path) -> None:
    capture = made.object_on_table()
    names = [f"{3 * i:06d}.jpg" for i in range(36)]

    def refused(change: Any, *words: str) -> None:
        inputs = made.write(tmp_path / "in", capture)
        change(inputs)
        assert_refused(run(tmp_path, inputs), tmp_path, *words)

    broken = capture.world_from_cam.copy()
    broken[4, 0, 3] = np.nan
    points = capture.points.copy()
    points[7] = np.inf
    refused(lambda f: made.write_cameras(f["cameras"], cameras=2), "cameras.bin", "2 cameras", "one zoom")
    refused(lambda f: made.write_cameras(f["cameras"], model=0), "cameras.bin", "SIMPLE_PINHOLE", "PINHOLE")
    refused(lambda f: made.write_images(f["image-poses"], broken[:0], []), "images.bin", "0 images", "poses.json")
    refused(lambda f: made.write_images(f["image-poses"], broken, names), "images.bin", "000012.jpg", "not finite")
    refused(lambda f: made.write_points(f["points3d"], points, [[0]] * len(points)), "points3D.bin", "not finite")
    refused(lambda f: f["points3d"].write_bytes(f["points3d"].read_bytes()[:-9]), "points3D.bin", "cut short")
    refused(lambda f: f["cameras"].unlink(), "cameras.bin", "no such file")
    refused(lambda f: f["frames-json"].write_text('{"frames": [{"name": "a"}]}'), "frames.json", "video_frame")
    refused(lambda f: f["frames-json"].write_text('{"frames": []}'), "frames.json", "000000.jpg", "different runs")


def test_cameras_that_do_not_move_and_see_nothing_are_refused(tmp_path: Path) -> None:
    still = made.Capture(np.stack([made.look((0, 0, 1), (0, 3, 1))] * 5), np.zeros((0, 3)))
    result = run(tmp_path, made.write(tmp_path / "in", still))
    assert_refused(result, tmp_path, "no region could be found", "walking round", "region.center")


@pytest.mark.parametrize("kind", ["object", "indoor", "outdoor"])
@pytest.mark.parametrize("points", [0, 1, 40])
def test_poor_captures_get_some_region_or_one_message(tmp_path: Path, kind: str, points: int) -> None:
    still = made.turntable()
    result = run(
        tmp_path, made.write(tmp_path / "in", still._replace(points=still.points[:points])), f"--scene-type={kind}"
    )
    assert "Traceback" not in result.stderr
    if result.returncode == 0:
        assert load(tmp_path, "transforms.json")["sphere_radius"] > 0
    else:
        assert_refused(result, tmp_path, "no region could be found")
