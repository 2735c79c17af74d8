"""volumes.py: which folders of the bucket a job gets, on made sets of files."""

from pathlib import PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from snakemake_executor_plugin_ovhai.volumes import WORKDIR, StoredFile, Volume, VolumeError, plan_volumes

ROOT = "work/videos"
names = st.sampled_from(["a", "b", "ab", "a-b", "a.b", ".a", "é x", "1"])
# Below the folders of a stage and a scene, mostly directly in them.
keys = st.builds(
    lambda scene, stage, folders, name: "/".join([ROOT, "results", scene, stage, *folders, name]),
    st.sampled_from(["kitchen", "kitchen2", "tea"]),
    st.sampled_from(["frames", "poses", "mesh"]),
    st.lists(names, max_size=2),
    names,
)
key_lists = st.lists(keys, max_size=6, unique=True)


def store(key: str, bucket: str = "b") -> StoredFile:
    """A file with the path that Snakemake's S3 storage plugin gives it."""
    return StoredFile(bucket, key, f".snakemake/storage/s3/{bucket}/{key}")


def is_below(path: str, folder: str) -> bool:
    return PurePosixPath(path).is_relative_to(folder)


def resolve(file: StoredFile, volumes: list[Volume]) -> Volume:
    """The only volume whose mount holds the path by which the command knows the file."""
    (found,) = [volume for volume in volumes if is_below(str(WORKDIR / file.path), volume.mount)]
    return found


@given(key_lists, key_lists)
def test_every_file_is_where_the_command_expects_it(reads: list[str], writes: list[str]) -> None:
    volumes = plan_volumes(map(store, reads), map(store, writes), ROOT)
    for file in map(store, [*reads, *writes]):
        volume = resolve(file, volumes)
        below = (WORKDIR / file.path).relative_to(volume.mount)
        assert f"{volume.prefix}/{below}" == file.key
        assert volume.bucket == file.bucket
    for key in writes:
        assert resolve(store(key), volumes).writable


@given(key_lists, key_lists)
def test_volumes_are_apart_and_without_trailing_slash(reads: list[str], writes: list[str]) -> None:
    volumes = plan_volumes(map(store, reads), map(store, writes), ROOT)
    for volume in volumes:
        others = [other for other in volumes if other is not volume]
        assert not any(is_below(volume.prefix, other.prefix) or is_below(volume.mount, other.mount) for other in others)
        source, mount, permission = volume.argument("S3GRA").split(":")
        assert source == f"b@S3GRA/{volume.prefix}" and not source.endswith("/") and not mount.endswith("/")
        assert permission == ("rw" if volume.writable else "ro")


@given(key_lists, key_lists)
def test_no_more_is_brought_than_the_folders_of_the_files(reads: list[str], writes: list[str]) -> None:
    folders = {key.rpartition("/")[0] for key in [*reads, *writes]}
    volumes = plan_volumes(map(store, reads), map(store, writes), ROOT)
    assert {volume.prefix for volume in volumes} <= folders
    scenes = {key.split("/")[3] for key in [*reads, *writes]}
    assert all(volume.prefix.split("/")[3] in scenes for volume in volumes)
    # Only reading makes nothing writable.
    assert not any(volume.writable for volume in plan_volumes(map(store, reads), [], ROOT))


@given(st.lists(keys, min_size=1, max_size=10, unique=True), st.integers(1, 3))
def test_no_other_scene_is_shown(all_keys: list[str], count: int) -> None:
    scene = all_keys[0].split("/")[3]
    ours = [key for key in all_keys if key.split("/")[3] == scene]
    volumes = plan_volumes(map(store, ours[count:]), map(store, ours[:count]), ROOT)
    others = [key for key in all_keys if key.split("/")[3] != scene]
    assert not any(is_below(key, volume.prefix) for key in others for volume in volumes)


@given(key_lists, key_lists, st.randoms())
def test_the_order_of_files_does_not_matter(reads: list[str], writes: list[str], random: object) -> None:
    volumes = plan_volumes(map(store, reads), map(store, writes), ROOT)
    for keys in (reads, writes):
        random.shuffle(keys)  # type: ignore[attr-defined]
    assert plan_volumes(map(store, reads), map(store, writes), ROOT) == volumes


def test_one_folder_for_each_stage_and_scene() -> None:
    reads = ["work/results/tea/poses/a.json", "work/results/tea/poses/b.tar", "work/videos/tea/x.mp4"]
    volumes = plan_volumes(map(store, reads), [store("work/results/tea/mesh/mesh.ply")], "work")
    assert [volume.argument("S") for volume in volumes] == [
        "b@S/work/results/tea/mesh:/workspace/.snakemake/storage/s3/b/work/results/tea/mesh:rw",
        "b@S/work/results/tea/poses:/workspace/.snakemake/storage/s3/b/work/results/tea/poses:ro",
        "b@S/work/videos/tea:/workspace/.snakemake/storage/s3/b/work/videos/tea:ro",
    ]


def test_folders_inside_another_are_merged() -> None:
    # "r/a-b" sorts between "r/a" and "r/a/b" as text.
    reads = ["work/r/a/in.txt", "work/r/a-b/in.txt", "work/r/a/c/in.txt"]
    volumes = plan_volumes(map(store, reads), [store("work/r/a/b/out.txt")], "work")
    assert [(volume.prefix, volume.writable) for volume in volumes] == [("work/r/a", True), ("work/r/a-b", False)]


def test_an_input_beside_an_output_is_in_its_volume() -> None:
    (volume,) = plan_volumes([store("work/r/in.txt")], [store("work/r/out.txt")], "work")
    assert volume.writable


def test_equal_folders_of_two_buckets_stay_apart() -> None:
    volumes = plan_volumes([store("work/r/f", "b"), store("work/r/f", "c")], [], "work")
    assert [volume.bucket for volume in volumes] == ["b", "c"]
    assert len({volume.mount for volume in volumes}) == 2


def test_paths_outside_the_working_folder_are_kept() -> None:
    (volume,) = plan_volumes([StoredFile("b", "work/r/f", "/data/r/f")], [])
    assert volume.mount == "/data/r"


def test_a_folder_that_appears_elsewhere_does_not_hide_what_can_be_merged() -> None:
    elsewhere = StoredFile("b", "work/r/a/b/f", "/data/b/f")
    volumes = plan_volumes([store("work/r/a/f"), elsewhere, store("work/r/a/c/f")], [], "work")
    assert [volume.prefix for volume in volumes] == ["work/r/a", "work/r/a/b"]


@pytest.mark.parametrize("buckets", ["bb", "bc"])
def test_two_folders_in_one_place_are_refused(buckets: str) -> None:
    files = [StoredFile(bucket, f"work/{name}/f", "r/f") for bucket, name in zip(buckets, "xy", strict=True)]
    with pytest.raises(VolumeError, match=r"/workspace/r"):
        plan_volumes(files, [])
    same = [StoredFile(bucket, "work/x/f", "r/f") for bucket in "bc"]
    with pytest.raises(VolumeError, match=r"/workspace/r"):
        plan_volumes(same, [])


@pytest.mark.parametrize(
    ("key", "root", "words"),
    [
        ("f", "", "top of the bucket"),
        ("work/f", "work", "top of the prefix work"),
        ("work/f", "/work/", "top of the prefix work"),
        ("a/b/f", "a/b", "top of the prefix a/b"),
        ("f", "work", "all of which"),
        ("a/f", "a/b", "all of which"),
        ("work/../f", "work", "'..'"),
        ("work/r/../../f", "work", "'..'"),
        ("/work/r/f", "work", "leading '/'"),
        ("work/r:rw/f", "work", "':'"),
        ("work/r@S/f", "work", "'@'"),
        ("work/r,s/f", "work", "','"),
    ],
)
@pytest.mark.parametrize("writable", [False, True])
def test_refused(key: str, root: str, words: str, writable: bool) -> None:
    file = StoredFile("b", key, f"storage/{key.lstrip('/').replace('..', 'x')}")
    with pytest.raises(VolumeError) as refused:
        plan_volumes([] if writable else [file], [file] if writable else [], root)
    assert f"s3://b/{key}" in str(refused.value) and words in str(refused.value)


@pytest.mark.parametrize("path", ["../f", "r/../../f", "r:s/f", "r,s/f"])
def test_paths_that_no_volume_can_have_are_refused(path: str) -> None:
    with pytest.raises(VolumeError, match="s3://b/work/r/f"):
        plan_volumes([StoredFile("b", "work/r/f", path)], [], "work")


def test_colons_in_names_of_files_are_no_matter() -> None:
    (volume,) = plan_volumes([store("work/r/12:30@x,y.txt")], [], "work")
    assert volume.prefix == "work/r"
