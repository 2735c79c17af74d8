"""The gate: each check on a made capture with one thing wrong, limits, and the decision."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

import synthetic_captures as made
from checkout import ROOT
from programs import call
from videomesh.gate import verdict

SCHEMA = yaml.safe_load((ROOT / "config/schemas/config.schema.yaml").read_text())
FILES = {
    "frames-json": "frames.json",
    "poses-json": "poses.json",
    "transforms": "transforms.json",
    "region": "region.json",
    "points": "points.npz",
}
FOOTAGE = b'{"source": "video", "clips": [], "cuts": [], "frames": [%s]}'
CHECKS = {check.name for check in verdict.CHECKS}


def get_limits(**changes: dict[str, float | None]) -> str:
    """The default limits of all checks as the rule hands them over, with changes."""
    checks = SCHEMA["properties"]["gate"]["properties"]
    levels = {
        name: {level: check["properties"][level]["default"] for level in ("warn", "fail")}
        for name, check in checks.items()
        if name != "mode"
    }
    return json.dumps({name: {**defaults, **changes.get(name, {})} for name, defaults in levels.items()})


def write(folder: Path, capture: made.Capture, scene_type: str = "auto") -> Path:
    """All files the gate reads, in one folder."""
    inputs = made.write(folder, capture)
    done = made.call_region(folder, inputs, scene_type=scene_type)
    assert done.returncode == 0, done.stderr
    return folder


def check(folder: Path, limits: str | None = None) -> subprocess.CompletedProcess[str]:
    files = [f"--{key}={folder / name}" for key, name in FILES.items()]
    thresholds = f"--thresholds={limits or get_limits()}"
    return call("gate", "check", "--scene=toy", f"--output={folder}/gate.json", thresholds, *files)


def decide(folder: Path, mode: str) -> subprocess.CompletedProcess[str]:
    return call("gate", "decide", f"--gate={folder}/gate.json", f"--mode={mode}", f"--output={folder}/gate.pass")


def checked(folder: Path, limits: str | None = None) -> dict[str, dict[str, Any]]:
    """Checks of gate.json by name."""
    result = check(folder, limits)
    assert result.returncode == 0, result.stderr
    return {entry["name"]: entry for entry in json.loads((folder / "gate.json").read_text())["checks"]}


def edit(path: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


@pytest.fixture(scope="module")
def good_capture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("good"), made.object_on_table())


@pytest.fixture
def folder(good_capture: Path, tmp_path: Path) -> Path:
    """A copy of a good capture to spoil."""
    for name in FILES.values():
        (tmp_path / name).write_bytes((good_capture / name).read_bytes())
    return tmp_path


def test_a_good_capture_passes_every_check(folder: Path) -> None:
    checks = checked(folder)
    gate = json.loads((folder / "gate.json").read_text())
    assert (gate["scene"], gate["verdict"]) == ("toy", "pass")
    assert set(checks) == CHECKS
    for entry in checks.values():
        assert set(entry) >= {"name", "value", "unit", "warn", "fail", "verdict", "advice", "source"}
        assert entry["verdict"] == "pass" and entry["advice"] and entry["source"].startswith("NA-")
    result = decide(folder, "fail")
    assert result.returncode == 0 and not result.stderr
    assert f"toy: pass, {len(CHECKS)} checks" in (folder / "gate.pass").read_text()


# ----------------------------------------------------------------------------------------------- one thing wrong each


def set_pose(transforms: dict[str, Any], row: int, column: int, factor: float) -> None:
    for line in transforms["frames"][5]["transform_matrix"][:3]:
        line[column] *= factor


@pytest.mark.parametrize(
    ("file", "change", "name", "verdict", "value", "advice"),
    [
        (
            "frames.json",
            lambda c: [f.update(sharpness=30) for f in c["frames"][:8]],
            "blurred_share",
            "warn",
            8 / 36,
            "Blurred: between 0:00 and 0:01.",
        ),
        (
            "frames.json",
            lambda c: [f.update(sharpness=1000) for f in c["frames"][:17]] and c["frames"][0].update(sharpness=1),
            "blurred_share",
            "pass",
            1 / 36,
            "slower",
        ),
        (
            "frames.json",
            lambda c: [f.update(luminance=0.2) for f in c["frames"][:9]],
            "exposure_range",
            "warn",
            0.3,
            "Lock exposure",
        ),
        ("poses.json", lambda c: c.update(registered_share=0.7), "registered_share", "warn", 0.7, "overlaps"),
        (
            "poses.json",
            lambda c: c.update(registered_share=0.4, unregistered=["000009.jpg"]),
            "registered_share",
            "warn",
            0.4,
            "Without a pose: at 0:00.",
        ),
        ("poses.json", lambda c: c.update(reprojection_error=1.8), "reprojection_error", "warn", 1.8, "zoom"),
        ("poses.json", lambda c: c.update(track_length=2.5), "track_length", "warn", 2.5, "frames.target"),
        ("poses.json", lambda c: c.update(points_per_image=120), "points_per_image", "warn", 120, "texture"),
        ("poses.json", lambda c: c.update(unmoving=True), "camera_motion", "fail", 0, "turns on the spot"),
        (
            "frames.json",
            lambda c: c.update(cuts=[{"clip": 0, "frame": 30, "time": 12.2}]),
            "registered_share",
            "pass",
            1,
            "Another shot begins at 0:12",
        ),
        (
            "poses.json",
            lambda c: c["attempts"].insert(0, {"models": [{"registered": n} for n in (36, 20, 1)]}),
            "models",
            "pass",
            1,
            "one go",
        ),
        (
            "poses.json",
            lambda c: c["attempts"].append({"models": [{"registered": n} for n in (36, 20, 1)]}),
            "models",
            "warn",
            2,
            "36, 20, 1",
        ),
        ("transforms.json", lambda c: c.update(fl_y=63), "focal_difference", "fail", 0.05, "one camera"),
        ("transforms.json", lambda c: c.update(cx=48), "principal_point", "warn", 0.25, "do not crop"),
        ("transforms.json", lambda c: c.update(k1=-0.01), "distortion", "fail", 0.01, "undistorted"),
        ("transforms.json", lambda c: set_pose(c, 5, 0, 1.01), "pose_matrices", "fail", 1, "000015.jpg"),
        ("transforms.json", lambda c: set_pose(c, 5, 3, 30), "camera_distance", "warn", 1 / 36, "0.3 to 10 radii"),
        ("transforms.json", lambda c: c.update(sphere_center=[1.5, 0, 0.4]), "points_inside", "fail", None, "cut off"),
        ("transforms.json", lambda c: c.update(sphere_radius=0.2), "points_inside", "fail", None, "region.png"),
        ("transforms.json", lambda c: c.update(sphere_center=[0, 0, 50]), "azimuth_coverage", "warn", 0, "No camera"),
        ("transforms.json", lambda c: c.update(sphere_radius=1.6), "region_too_large", "warn", 1, "wastes detail"),
        ("transforms.json", lambda c: c.update(sphere_radius=20), "cameras_inside", "warn", 1, "too large"),
        ("transforms.json", lambda c: c.update(sphere_radius=0.2), "camera_distance", "warn", 1, "nearer"),
        (
            "region.json",
            lambda c: c["scene_type"].update(looking_at_center=0.3, guess="indoor"),
            "camera_focus",
            "warn",
            0.3,
            "scene_type: indoor",
        ),
        (
            "region.json",
            lambda c: c["scene_type"].update(used="indoor"),
            "camera_focus",
            "warn",
            0,
            "scene_type: object",
        ),
    ],
)
def test_one_thing_wrong_is_found(
    folder: Path,
    file: str,
    change: Callable[[dict[str, Any]], Any],
    name: str,
    verdict: str,
    value: float | None,
    advice: str,
) -> None:
    edit(folder / file, change)
    entry = checked(folder)[name]
    assert entry["verdict"] == verdict
    assert value is None or entry["value"] == pytest.approx(value, abs=1e-3)
    assert advice in entry["advice"]


def test_half_an_orbit_names_the_missing_side(tmp_path: Path) -> None:
    # Counterclockwise seen from above, so someone at the first camera has filmed the right side and misses the left.
    entry = checked(write(tmp_path, made.object_on_table(degrees=180)))["azimuth_coverage"]
    assert entry["verdict"] == "warn"
    assert 0.5 < entry["value"] < 0.6
    for words in ("the frame at 0:03 and the frame at 0:00", "185 degrees", "left side as seen from the frame at 0:00"):
        assert words in entry["advice"]


def test_a_quarter_of_an_orbit_passes_with_a_warning_that_names_what_is_missing(tmp_path: Path) -> None:
    folder = write(tmp_path, made.object_on_table(degrees=90, count=30))
    assert not [entry for entry in checked(folder).values() if entry["verdict"] == "fail"]
    result = decide(folder, "fail")
    assert result.returncode == 0
    for words in ("azimuth_coverage", "273 degrees", "far side", "at least 75 %", "the back of a relief"):
        assert words in result.stderr


def test_photos_are_called_by_their_names(folder: Path) -> None:
    def to_photos(frames: dict[str, Any]) -> None:
        frames.update(source="photos")
        for number, frame in enumerate(frames["frames"]):
            frame.update(time=None, source=f"IMG_{number}.HEIC", sharpness=1 if number == 4 else 100)

    edit(folder / "frames.json", to_photos)
    assert "Blurred: IMG_4.HEIC." in checked(folder)["blurred_share"]["advice"]


@pytest.mark.parametrize("count", [20, 24, 60])
def test_a_full_circle_counts_as_full_with_few_photos(tmp_path: Path, count: int) -> None:
    assert checked(write(tmp_path, made.object_on_table(count=count)))["azimuth_coverage"]["value"] == 1


@pytest.mark.parametrize(("count", "verdict"), [(7, "fail"), (8, "warn"), (19, "warn"), (20, "pass")])
def test_few_frames_warn_and_too_few_fail(tmp_path: Path, count: int, verdict: str) -> None:
    entry = checked(write(tmp_path, made.object_on_table(count=count)))["frame_count"]
    assert (entry["value"], entry["verdict"]) == (count, verdict)


def test_a_level_orbit_is_asked_to_change_height(tmp_path: Path) -> None:
    level = np.stack([made.look((3 * np.cos(a), 3 * np.sin(a), 1), (0, 0, 0.4)) for a in np.arange(36) * np.pi / 18])
    entry = checked(write(tmp_path, made.object_on_table()._replace(world_from_cam=level)))["elevation_spread"]
    assert entry["verdict"] == "warn" and entry["value"] < 1
    assert "higher up" in entry["advice"]


def test_a_camera_that_never_moved_fails(tmp_path: Path) -> None:
    entry = checked(write(tmp_path, made.turntable()))["camera_motion"]
    assert entry["verdict"] == "fail"
    assert "hardly moves" in entry["advice"]


@pytest.mark.parametrize("capture", [made.room(), made.room(outward=False), made.street(), made.facade()])
def test_rooms_and_streets_are_not_asked_to_be_walked_round(tmp_path: Path, capture: made.Capture) -> None:
    checks = checked(write(tmp_path, capture))
    assert not {"azimuth_coverage", "elevation_spread", "cameras_inside"} & set(checks)
    assert not [name for name, entry in checks.items() if entry["verdict"] == "fail"]


def test_a_room_called_an_object_is_told_its_scene_type(tmp_path: Path) -> None:
    entry = checked(write(tmp_path, made.room(), "object"))["camera_focus"]
    assert entry["verdict"] == "warn"
    assert "scene_type: indoor" in entry["advice"]


@pytest.mark.parametrize(
    ("change", "name", "value", "words"),
    [
        (lambda images: images.pop(1), "image_names", 1, ["No image for: 000003.jpg"]),
        (
            lambda images: images.append({"name": "000001.jpg", "flaw": ""}),
            "image_names",
            1,
            ["No pose for: 000001.jpg"],
        ),
        (lambda images: images.append(images[0]), "image_names", 1, ["Twice: 000000.jpg"]),
        (lambda images: images[1].update(flaw="not an image"), "image_files", 1, ["000003.jpg (not an image)"]),
        (lambda images: [one.update(flaw="x") for one in images[:8]], "image_files", 8, ["and 3 more"]),
    ],
    ids=["missing", "extra", "twice", "broken", "many"],
)
def test_images_that_upstream_would_hang_on_fail(
    folder: Path, change: Callable[[list[dict[str, str]]], Any], name: str, value: int, words: list[str]
) -> None:
    edit(folder / "poses.json", lambda poses: change(poses["images"]))
    entry = checked(folder)[name]
    assert (entry["verdict"], entry["value"]) == ("fail", value)
    for word in words:
        assert word in entry["advice"]


# ----------------------------------------------------------------------------------------------------------- limits


def test_limits_can_be_moved_and_switched_off(folder: Path) -> None:
    edit(folder / "poses.json", lambda c: c.update(track_length=2.5, registered_share=0.3))
    limits = get_limits(track_length={"fail": 2.6}, registered_share={"fail": None, "warn": None})
    checks = checked(folder, limits)
    assert checks["track_length"]["verdict"] == "fail"
    assert (checks["track_length"]["warn"], checks["track_length"]["fail"]) == (3.0, 2.6)
    assert checks["registered_share"]["verdict"] == "pass"


@pytest.mark.parametrize(
    ("thresholds", "words"),
    [
        ("{", ["not valid JSON"]),
        ("[]", ["warn and fail"]),
        ('{"track_length": 2}', ["warn and fail"]),
        ('{"track_length": {"wran": 2}}', ["warn and fail"]),
        ("{}", ["the limits of frame_count, blurred_share", "are missing"]),
        ('{"track_lenght": {"warn": 2, "fail": null}}', ["gate.track_lenght", "Did you mean track_length?"]),
    ],
)
def test_wrong_limits_are_refused(folder: Path, thresholds: str, words: list[str]) -> None:
    """Their values are for the configuration to check."""
    assert_refused(check(folder, thresholds), folder / "gate.json", *words)


# --------------------------------------------------------------------------------------------------------- decision


def test_a_failed_gate_stops_the_scene_with_its_advice(folder: Path) -> None:
    edit(folder / "poses.json", lambda c: c.update(unmoving=True, track_length=2.5))
    checked(folder)
    (folder / "gate.pass").write_text("of an earlier run")
    result = decide(folder, "fail")
    words = ["scene toy", "1 failed", "camera_motion is 0 ", "at least 0.05", "turns on the spot", "gate.mode: warn"]
    assert_refused(result, folder / "gate.pass", *words, "warning: track_length", "gate.CHECK.fail")


def test_mode_warn_goes_on_and_says_why(folder: Path) -> None:
    edit(folder / "poses.json", lambda c: c.update(unmoving=True, track_length=2.5))
    checked(folder)
    result = decide(folder, "warn")
    assert result.returncode == 0
    for text in (result.stderr, (folder / "gate.pass").read_text()):
        for words in ("toy", "failed: camera_motion", "warning: track_length"):
            assert words in text


def test_warnings_are_printed_in_mode_fail_too(folder: Path) -> None:
    edit(folder / "poses.json", lambda c: c.update(track_length=2.5))
    checked(folder)
    result = decide(folder, "fail")
    assert result.returncode == 0
    assert "warning: track_length" in result.stderr and "frames.target" in result.stderr
    assert "toy: warn" in (folder / "gate.pass").read_text()


# -------------------------------------------------------------------------------------------------------- bad input


def assert_refused(result: subprocess.CompletedProcess[str], output: Path, *words: str) -> None:
    """One message with these words, exit code 1, no traceback, no output."""
    assert result.returncode == 1
    assert result.stderr.startswith("error: ")
    assert "Traceback" not in result.stderr
    for word in words:
        assert word in result.stderr
    assert not output.exists()
    assert not list(output.parent.glob(f".{output.name}*"))


@pytest.mark.parametrize(
    ("file", "content", "words"),
    [
        ("frames.json", None, ["frames.json", "no such file"]),
        ("frames.json", FOOTAGE % b"", ["frames.json", "holds no frames"]),
        ("frames.json", FOOTAGE % b'{"name": "a"}', ["frames.json", "lacks the key 'sharpness'"]),
        ("poses.json", b"[]", ["poses.json", "an object with"]),
        ("poses.json", b'{"registered_share": "all"}', ["poses.json", 'registered_share is "all"', "a number"]),
        ("transforms.json", b"{}", ["transforms.json", "lacks fl_x"]),
        ("region.json", b'{"scene_type": "object", "up": []}', ["region.json", "scene_type", "an object"]),
        ("points.npz", None, ["points.npz", "no such file"]),
        ("points.npz", b"PK\3\4", ["points.npz", "run the region stage again"]),
    ],
)
def test_unreadable_input_is_refused(folder: Path, file: str, content: bytes | None, words: list[str]) -> None:
    (folder / file).unlink()
    if content is not None:
        (folder / file).write_bytes(content)
    assert_refused(check(folder), folder / "gate.json", *words)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda c: set_pose(c, 5, 3, float("nan")), ["000015.jpg", "not 4 x 4 finite numbers"]),
        (lambda c: c.update(sphere_radius=0), ["sphere_radius is 0"]),
        (lambda c: c.update(sphere_center=[0, None, 0]), ["sphere_center"]),
        (lambda c: c["frames"][0].pop("file_path"), ["frame 0", "file_path"]),
        (lambda c: c.update(frames=c["frames"][:5]), ["points.npz", "belongs to another file"]),
    ],
)
def test_unusable_transforms_are_refused(
    folder: Path, change: Callable[[dict[str, Any]], Any], words: list[str]
) -> None:
    edit(folder / "transforms.json", change)
    assert_refused(check(folder), folder / "gate.json", "transforms.json", *words)


@pytest.mark.parametrize("content", ["{", "{}", "[]"])
def test_deciding_on_a_broken_file_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "gate.json").write_text(content)
    assert_refused(decide(tmp_path, "fail"), tmp_path / "gate.pass", "gate.json")
