"""What a user meets before the first result: wrong configurations, sources of each kind, and sources that fail."""

import os
import shutil
import subprocess
import tarfile
import unicodedata
from pathlib import Path

import pytest
from ovhai_standin.platform import Platform

from checkout import DEMO, Checkout, make_photos
from s3_server import S3Server, s3_server
from snakemake_process import COMMAND, run_snakemake


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return Checkout.make(tmp_path / "checkout")


def test_a_broken_configuration_shows_its_errors_and_nothing_else(checkout: Checkout) -> None:
    rows = [{"scene": "My Film", "video": "nowhere.mp4", "train.iterashuns": 5}]
    checkout.configure(rows, mesh={"resolution": "huge"}, poses={"backend": "pycolmpa"})
    run = checkout.snakemake("--dry-run")
    assert run.returncode == 1
    header, *errors = [
        line for line in run.stdout.splitlines() if not line.startswith(("Using profile", "Config file"))
    ]
    assert header == "configuration: 5 errors"
    for words in (
        ("table.tsv line 1", "train.iterashuns", "Did you mean train.iterations?"),
        ("table.tsv line 2, column scene", "My Film"),
        ("table.tsv line 2, column video", "nowhere.mp4"),
        ("settings.yaml line", "mesh.resolution", "huge"),
        ("settings.yaml line", "poses.backend", "Did you mean pycolmap?"),
    ):
        assert any(all(word in error for word in words) for error in errors), (words, run.stdout)
    assert len(errors) == 5
    assert checkout.files() == set()


def test_broken_yaml_names_file_and_line(checkout: Checkout) -> None:
    checkout.configure([{"scene": "film", "video": str(DEMO)}])
    (checkout.folder / "config" / "config.yaml").write_text("scenes: table.tsv\ntrain: [1, 2\n")
    run = checkout.snakemake("--dry-run")
    assert run.returncode == 1
    assert "config/config.yaml line" in run.stdout
    assert "Traceback" not in run.stdout


def test_a_region_file_without_a_scene_is_mentioned(checkout: Checkout) -> None:
    checkout.configure([{"scene": "film", "video": str(DEMO)}])
    region = checkout.folder / "config" / "regions" / "flim.json"
    region.parent.mkdir()
    region.write_text("{}")
    assert "there is no scene flim" in checkout.snakemake("--dry-run").stdout


def test_the_shipped_table_and_the_demo_plan_the_tractor(checkout: Checkout) -> None:
    """Through the command itself, as a user would. The other tests fork it."""
    for arguments in ([], ["--configfile", "config/demo/config.yaml"]):
        command = [COMMAND, "--dry-run", "--profile", "profiles/local", *arguments]
        run = subprocess.run(command, cwd=checkout.folder, capture_output=True, text=True)
        assert run.returncode == 0, run.stderr
        assert "deliver/tractor/mesh.ply" in run.stdout


def test_videos_from_a_bucket_a_server_and_a_zip_come_in(checkout: Checkout, web: str, web_folder: Path) -> None:
    make_photos(web_folder / "photos")
    shutil.make_archive(str(web_folder / "photos"), "zip", web_folder / "photos")
    checkout.configure(
        [
            {"scene": "bucket", "video": "s3://films/from/tractor.mp4"},
            {"scene": "server", "video": f"{web}/tractor.mp4?token=secret"},
            {"scene": "archive", "video": f"{web}/photos.zip"},
            {"scene": "clips", "video": f"s3://films/from/tractor.mp4 ; {web}/tractor.mp4 ; films/my clip.mp4"},
            {"scene": "missing", "video": "s3://films/from/nothing.mp4"},
            {"scene": "page", "video": f"{web}/"},
        ]
    )
    (checkout.folder / "films").mkdir()
    shutil.copy(DEMO, checkout.folder / "films" / "my clip.mp4")
    store = checkout.folder.parent / "s3"
    store.mkdir()
    with s3_server(store) as server:
        server.client().create_bucket(Bucket="films")
        server.client().upload_file(str(DEMO), "films", "from/tractor.mp4")
        targets = [
            f"resources/videos/{name}"
            for name in ("bucket/video.mp4", "server/video.mp4", "archive/photos.tar", "clips/clips.tar")
        ]
        run = checkout.snakemake(*targets, **server.environment)
        assert run.returncode == 0, run.stdout
        for film in targets[:2]:
            assert (checkout.folder / film).read_bytes() == DEMO.read_bytes()
            assert not (checkout.folder / film).is_symlink()
        with tarfile.open(checkout.folder / targets[3]) as tar:
            assert tar.getnames() == ["000_tractor.mp4", "001_tractor.mp4", "002_my clip.mp4", "ingest.json"]
            assert all(tar.extractfile(clip).read() == DEMO.read_bytes() for clip in tar.getnames()[:3])  # type: ignore[union-attr]
        run = checkout.snakemake("resources/videos/missing/video.mp4", **server.environment)
        assert run.returncode == 1
        assert "scene=missing" in run.stdout and "s3://films/from/nothing.mp4" in run.stdout
    run = checkout.snakemake("resources/videos/page/video.mp4")
    assert run.returncode == 1
    assert "scene page" in run.stdout and "web page" in run.stdout
    results = {file for file in checkout.files() if not file.endswith(".log") and not file.startswith("deliver/")}
    assert results == set(targets)


def test_the_profile_for_ovhcloud_works_from_any_folder(
    checkout: Checkout, platform: Platform, s3: S3Server, bucket: str, tmp_path: Path
) -> None:
    """With the paths that docs/ovhcloud.md names; a folder without a configuration says how."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    environment = {**os.environ, **platform.environment, **s3.profile_environment(bucket)}
    command = ["-s", str(checkout.folder / "Snakefile"), "--profile", str(checkout.folder / "profiles" / "ovhai"), "-n"]
    run = run_snakemake([*command, "-d", str(checkout.folder)], elsewhere, environment)
    assert run.returncode == 0 and "Traceback" not in run.stdout, run.stdout
    run = run_snakemake(command, elsewhere, environment)
    assert run.returncode == 1 and "or name the folder with -d" in run.stdout, run.stdout
    assert len(run.stdout.splitlines()) < 10, run.stdout


def test_a_name_in_the_other_unicode_form(checkout: Checkout) -> None:
    """The table is written on a Mac, and the disk is Linux's."""
    target = "resources/videos/film/video.mp4"
    composed, parted = (checkout.folder / unicodedata.normalize(form, "Tür.mp4") for form in ("NFC", "NFD"))
    shutil.copy(DEMO, parted)
    checkout.configure([{"scene": "film", "video": composed.name}])
    run = checkout.snakemake(target)
    assert run.returncode == 0 and (checkout.folder / target).read_bytes() == DEMO.read_bytes(), run.stdout


def test_a_changed_source_makes_the_scene_stale(checkout: Checkout, web: str) -> None:
    target = "resources/videos/film/video.mp4"
    checkout.configure([{"scene": "film", "video": f"{web}/tractor.mp4"}])
    assert checkout.snakemake(target).returncode == 0
    assert checkout.planned(target) == {}
    checkout.configure([{"scene": "film", "video": f"{web}/./tractor.mp4"}])
    assert checkout.planned(target) == {"ingest_video": 1}
