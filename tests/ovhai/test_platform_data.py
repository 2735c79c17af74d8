"""Data goes between buckets, volumes and files as OVHcloud's documents and its users say."""

import json
from pathlib import Path

import pytest
from ovhai.models.data_store import DataStore
from ovhai_standin import volumes
from ovhai_standin.platform import Platform
from submission import contents, put, run, states, submit, texts, wait_for_line, wait_until

import s3_server


def test_only_objects_below_the_prefix_are_copied(platform: Platform, bucket: str, s3: s3_server.S3Server) -> None:
    put(s3, bucket, run__a="1", run__sub__b="2", run2__c="3", d="4")
    job = run(platform, "-v", f"{bucket}@S3GRA/run:/data:ro", command="cd /data; find . -type f | sort")
    assert texts(platform, job) == ["./a", "./sub/b"]


def test_a_trailing_slash_loses_the_prefix(platform: Platform, bucket: str, s3: s3_server.S3Server) -> None:
    put(s3, bucket, run__a="1", b="2")
    job = run(platform, "-v", f"{bucket}@S3GRA/run/:/data:ro", command="ls /data")
    assert (texts(platform, job), job["spec"]["volumes"][0]["dataStore"]["prefix"]) == (["b", "run"], None)
    platform.set(lose_prefix_with_trailing_slash=False)
    job = run(platform, "-v", f"{bucket}@S3GRA/run/:/data:ro", command="ls /data")
    assert (texts(platform, job), job["spec"]["volumes"][0]["dataStore"]["prefix"]) == (["a"], "run")


@pytest.mark.parametrize(("permission", "deleted"), [("rw", False), ("rwd", True)])
def test_new_and_changed_files_go_back_and_deletions_only_with_rwd(
    platform: Platform, bucket: str, s3: s3_server.S3Server, permission: str, deleted: bool
) -> None:
    put(s3, bucket, p__same="1", p__changed="2", p__gone="3", outside="4")
    script = "cd /data; echo new > new; echo more >> changed; rm gone; ln -s same link; mkdir empty"
    job = run(platform, "-v", f"{bucket}@S3GRA/p:/data:{permission}", command=script)
    kept = {} if deleted else {"p/gone": "3"}
    assert contents(s3, bucket) == {"outside": "4", "p/same": "1", "p/changed": "2more\n", "p/new": "new\n", **kept}
    progress = job["status"]["dataSync"][1]["status"]["progress"][0]
    assert (progress["completed"], progress["skipped"], progress["deleted"]) == (2, 1, int(deleted))
    assert (progress["total"], progress["info"]) == (3, f"{bucket}@S3GRA")


def test_the_last_rwd_job_on_a_prefix_deletes_what_another_has_written(
    platform: Platform, bucket: str, s3: s3_server.S3Server
) -> None:
    platform.set(simulate={"slow": 6})  # longer than the other takes, on any machine
    slow = submit(platform, "-v", f"{bucket}@S3GRA/p:/data:rwd", command="echo slow > /data/slow")
    platform.wait(slow, "RUNNING")
    run(platform, "-v", f"{bucket}@S3GRA/p:/data:rwd", command="echo quick > /data/quick")
    platform.wait(slow)
    assert contents(s3, bucket) == {"p/slow": "slow\n"}


def test_unchanged_files_go_back_if_the_variant_says_so(
    platform: Platform, bucket: str, s3: s3_server.S3Server
) -> None:
    put(s3, bucket, file="old")
    platform.set(push_unchanged=True)
    job_id = submit(platform, "-v", f"{bucket}@S3GRA:/data:rw", command="sleep 1.5")
    platform.wait(job_id, "RUNNING")
    put(s3, bucket, file="newer")
    progress = platform.wait(job_id)["status"]["dataSync"][1]["status"]["progress"][0]
    assert (progress["completed"], progress["skipped"]) == (1, 0)
    assert contents(s3, bucket) == {"file": "old"}


def test_a_missing_bucket_is_refused(platform: Platform, bucket: str, s3: s3_server.S3Server) -> None:
    for mode, state in (("ro", "INITIALIZING"), ("rw", "INITIALIZING")):
        job = run(platform, "-v", f"{bucket}-new@S3GRA/out:/out:{mode}")
        assert states(job) == ["QUEUED", state, "SYNC_FAILED"]
        assert job["status"]["dataSync"][0]["status"]["info"]["code"] == "DATASYNC_INVALID_CONTAINER"
    assert f"{bucket}-new" not in [entry["Name"] for entry in s3.client().list_buckets()["Buckets"]]
    with pytest.raises(s3.client().exceptions.NoSuchBucket):
        s3.client().put_object(Bucket=f"{bucket}-new", Key="x", Body=b"")


def test_a_missing_bucket_is_created_if_the_variant_says_so(
    platform: Platform, bucket: str, s3: s3_server.S3Server
) -> None:
    platform.set(create_buckets=True)
    assert run(platform, "-v", f"{bucket}-new@S3GRA/out:/out:rw", command="echo 1 > /out/x")["status"]["exitCode"] == 0
    assert contents(s3, f"{bucket}-new") == {"out/x": "1\n"}


@pytest.mark.parametrize(
    ("store", "code"), [("S3GRA", "DATASYNC_AUTHENTICATE_FAILED"), ("OTHER", "DATASYNC_DATA_STORE_NOT_FOUND")]
)
def test_a_wrong_key_or_data_store_fails_the_pull(platform: Platform, bucket: str, store: str, code: str) -> None:
    (present,) = platform.folder.settings()["data_stores"].values()
    platform.set(data_stores={"S3GRA": {**present, "secret_key": "wrong"}})
    job = run(platform, "-v", f"{bucket}@{store}:/data:ro")
    assert states(job) == ["QUEUED", "INITIALIZING", "SYNC_FAILED"]
    assert job["status"]["info"]["code"] == "JOB_SYNC_FAILED"
    (sync,) = job["status"]["dataSync"]
    assert (sync["status"]["state"], sync["status"]["info"]["code"]) == ("FAILED", code)


def test_data_is_copied_on_demand_while_a_job_runs(platform: Platform, bucket: str, s3: s3_server.S3Server) -> None:
    put(s3, bucket, old="1")
    script = (
        "echo 1 > /data/new; echo ready; until test -e /data/pulled; do sleep 0.05; done;"
        "echo changed >> /data/pulled; until test -e /data/again; do sleep 0.05; done"
    )
    job_id = submit(platform, "-v", f"{bucket}@S3GRA:/data:rw", command=script)
    wait_for_line(platform, job_id, "ready")
    assert contents(s3, bucket) == {"old": "1"}
    assert platform.ovhai("job", "push-data", job_id).returncode == 0
    wait_until(lambda: contents(s3, bucket) == {"old": "1", "new": "1\n"})
    put(s3, bucket, pulled="2")
    assert platform.ovhai("job", "pull-data", job_id).returncode == 0
    wait_until(lambda: len(syncs_done(platform, job_id)) == 3)
    s3.client().delete_object(Bucket=bucket, Key="pulled")  # the next pull must not undo the job's change
    put(s3, bucket, again="3")
    assert platform.ovhai("job", "pull-data", job_id).returncode == 0
    platform.wait(job_id)
    manual = [("push", True), ("pull", True), ("pull", True)]
    assert syncs_done(platform, job_id) == [("pull", False), *manual, ("push", False)]
    assert contents(s3, bucket) == {"old": "1", "new": "1\n", "again": "3", "pulled": "2changed\n"}
    assert platform.ovhai("job", "push-data", job_id).returncode == 1


def syncs_done(platform: Platform, job_id: str) -> list[tuple[str, bool]]:
    """Direction of each copy that is done, and whether it was asked for by hand."""
    syncs = [entry for entry in platform.job(job_id)["status"]["dataSync"] if entry["status"]["state"] == "DONE"]
    return [(entry["spec"]["direction"], entry["spec"]["manual"]) for entry in syncs]


def test_a_standalone_volume_is_an_empty_folder(platform: Platform) -> None:
    job = run(platform, "-v", "standalone:/scratch:rw", command="ls /scratch | wc -l; touch /scratch/x")
    assert (job["status"]["exitCode"], texts(platform, job)) == (0, ["0"])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("b@S3GRA:/m", {"mountPath": "/m", "permission": "RO", "cache": False, "dataStore": ("b", None)}),
        (
            "b@S3GRA/p/q:/m:RWD:cache",
            {"mountPath": "/m", "permission": "RWD", "cache": True, "dataStore": ("b", "p/q")},
        ),
        ("b@S3GRA/:/m:rw:no-cache", {"mountPath": "/m", "permission": "RW", "cache": False, "dataStore": ("b", None)}),
        ("standalone:/m:rw", {"mountPath": "/m", "permission": "RW", "cache": False, "standalone": {}}),
        (
            "https://host:80/o/r.git:/m:ro",
            {"mountPath": "/m", "permission": "RO", "cache": False, "publicGit": {"url": "https://host:80/o/r.git"}},
        ),
    ],
)
def test_volume_grammar(text: str, expected: dict) -> None:
    volume = volumes.parse(text, lose_prefix_with_trailing_slash=True)
    if "dataStore" in volume:
        assert volume["dataStore"].pop("alias") == "S3GRA"
        volume["dataStore"] = tuple(volume["dataStore"].values())
    assert volume == expected


# Buckets


def test_files_go_up_and_down_as_in_the_tutorial(
    platform: Platform, bucket: str, s3: s3_server.S3Server, tmp_path: Path
) -> None:
    (tmp_path / "videos/sub").mkdir(parents=True)
    (tmp_path / "videos/a.mp4").write_text("a")
    (tmp_path / "videos/sub/b.mp4").write_text("b")
    place = f"{bucket}@S3GRA"
    source = str(tmp_path / "videos")
    arguments = [place, source, "--remove-prefix", f"{source}/", "--add-prefix", "in/"]
    assert platform.ovhai("bucket", "object", "upload", *arguments).returncode == 0
    assert contents(s3, bucket) == {"in/a.mp4": "a", "in/sub/b.mp4": "b"}
    target = tmp_path / "down"
    arguments = [place, "-p", "in/sub/", "-r", "in/", "-o", f"{target}/"]
    assert platform.ovhai("bucket", "object", "download", *arguments).returncode == 0
    assert [str(path.relative_to(target)) for path in target.rglob("*.*")] == ["sub/b.mp4"]
    items = json.loads(platform.ovhai("bucket", "object", "list", place, "-o", "json").stdout)
    assert [(item["key"], item["size"]) for item in items] == [("in/a.mp4", 1), ("in/sub/b.mp4", 1)]
    assert platform.ovhai("bucket", "object", "delete", place, "--prefix", "in/sub", "--yes").returncode == 0
    assert contents(s3, bucket) == {"in/a.mp4": "a"}
    buckets = json.loads(platform.ovhai("bucket", "list", "S3GRA", "-o", "json").stdout)
    assert {"name": bucket, "count": 1, "bytes": 1} in buckets


def test_an_upload_keeps_the_path_as_typed(
    platform: Platform, bucket: str, s3: s3_server.S3Server, tmp_path: Path
) -> None:
    file = tmp_path / "file"
    file.write_text("x")
    assert platform.ovhai("bucket", "object", "upload", f"{bucket}@S3GRA", str(file)).returncode == 0
    assert [key.lstrip("/") for key in contents(s3, bucket)] == [str(file).lstrip("/")]


def test_data_stores(platform: Platform, s3: s3_server.S3Server) -> None:
    keys = [s3.endpoint, s3_server.REGION, s3_server.ACCESS_KEY, s3_server.SECRET_KEY]
    added = platform.ovhai("datastore", "add", "s3", "MINE", *keys, "--store-credentials-locally")
    assert added.returncode == 0, added.stderr
    stores = json.loads(platform.ovhai("datastore", "list", "-o", "json").stdout)
    assert [DataStore.from_dict(store).to_dict() for store in stores] == stores
    assert {"alias": "MINE", "type": "s3", "owner": "customer", "endpoint": s3.endpoint} in stores
    lines = [line.split() for line in platform.ovhai("datastore", "list").stdout.splitlines()]
    assert ["GRA", "swift", "ovhcloud", "~"] in lines and lines[0] == ["ALIAS", "STORE_TYPE", "OWNER", "ENDPOINT"]
    assert platform.ovhai("bucket", "list", "MINE").returncode == 0
    missing = platform.ovhai("bucket", "list", "OTHER")
    assert (missing.returncode, "not found" in missing.stderr) == (1, True)
