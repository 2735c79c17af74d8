"""One listing answers as the S3 storage plugin does, which asks for each object in turn. A real S3 server is asked."""

import asyncio
import inspect
import logging
import re
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import botocore.utils
import one_by_one
import pytest
import snakemake.api  # noqa: F401 - before snakemake.storage, which imports it too
import snakemake_storage_plugin_s3 as plugin
from heads import Head, strip_colours
from snakemake.io import IOCache, IOFile
from snakemake.storage import flag_with_storage_object
from snakemake_interface_executor_plugins.settings import ExecMode

import s3_server
from s3_proxy import Proxy
from snakemake_executor_plugin_ovhai import inventory, patience
from snakemake_executor_plugin_ovhai.bucket import ObjectInfo
from snakemake_executor_plugin_ovhai.inventory import READS, describe, fill
from snakemake_executor_plugin_ovhai.outage import OUTAGE
from snakemake_process import run_snakemake

PREFIX = "work/up"
THERE = {
    "work/up/a.txt": b"a",
    "work/up/empty.txt": b"",
    "work/up/folder/x.txt": b"xx",
    "work/up/folder/deep/er/y.txt": b"yyy",
    "work/up/marked/": b"",
    "work/up/a b+c%20d&e=f;g,h@i:j$k.txt": b"signs",
    "work/up/(1)~!*'\"<>|^`{x}[y].txt": b"more signs",
    "work/up/umlaut-ü-\u0075\u0308-日本-🙂.txt": b"letters",
    "work/up/x.txt/under-a-name.txt": b"x",
    "work/upper/a.txt": b"beside the prefix",
    "work/a.txt": b"above the prefix",
}
ASKED = [
    *(key for key in THERE if not key.endswith("/")),
    *("work/up/folder", "work/up/folder/deep", "work/up/x.txt"),  # folders are there, if something is in them
    *("work/up/none.txt", "work/up/fold", "work/up/A.txt", "work/up/folder/x", "work/up/folder/x.txt.bak", "work/none"),
    *("work/up//folder//x.txt", "work/up/./a.txt", "work/up/folder/../a.txt", "work/up/a.txt?version=1#top"),
]


def make_workflow(folder: Path, s3: s3_server.S3Server, bucket: str, prefix: str = PREFIX) -> Any:
    """What the cache needs of Snakemake's workflow."""
    settings = plugin.StorageProviderSettings(
        endpoint_url=s3.endpoint, access_key=s3_server.ACCESS_KEY, secret_key=s3_server.SECRET_KEY
    )
    provider = plugin.StorageProvider(
        local_prefix=folder / "s3", logger=logging.getLogger(), settings=settings, is_default=True
    )
    return SimpleNamespace(
        iocache=IOCache(0),
        exec_mode=ExecMode.DEFAULT,
        persistence=None,
        dag_settings=SimpleNamespace(trust_io_cache=False),
        storage_settings=SimpleNamespace(default_storage_prefix=f"s3://{bucket}/{prefix}"),
        storage_registry=SimpleNamespace(default_storage_provider=provider),
    )


def ask(workflow: Any, uri: str) -> tuple[bool, float | None, int | None]:
    """Whether it is there, its date and its size, as Snakemake's plan asks."""
    stored = workflow.storage_registry.default_storage_provider.object(uri)
    file = IOFile(flag_with_storage_object(uri, stored), SimpleNamespace(workflow=workflow, pathvars=AsItIs()))

    async def look() -> tuple[bool, float | None, int | None]:
        if not await file.exists():
            return False, None, None
        return True, (await file.mtime()).storage(), await file.size()

    return asyncio.run(look())


class AsItIs:
    def apply(self, path: str) -> str:
        return path


def put(s3: s3_server.S3Server, bucket: str, keys: dict[str, bytes] = THERE) -> None:
    for key, content in keys.items():
        s3.client().put_object(Bucket=bucket, Key=key, Body=content)


def count_requests(workflow: Any) -> list[str]:
    sent: list[str] = []
    client = workflow.storage_registry.default_storage_provider.s3c.meta.client
    client.meta.events.register("before-send.s3", lambda request, **_: sent.append(request.method))
    return sent


def list_two_at_a_time(workflow: Any) -> None:
    """As if a page had two objects in place of a thousand."""
    client = workflow.storage_registry.default_storage_provider.s3c.meta.client
    client.meta.events.register("provide-client-params.s3.ListObjectsV2", lambda params, **_: params | {"MaxKeys": 2})


@pytest.fixture(autouse=True)
def attached(monkeypatch: pytest.MonkeyPatch) -> None:
    inventory.attach()


@pytest.fixture
def workflow(tmp_path: Path, s3: s3_server.S3Server, bucket: str) -> Any:
    put(s3, bucket)
    return make_workflow(tmp_path, s3, bucket)


# The same answers ----------------------------------------------------------------------------------------------------


def test_a_listing_answers_as_the_plugin_does(
    workflow: Any, tmp_path: Path, s3: s3_server.S3Server, bucket: str
) -> None:
    questions = [f"s3://{bucket}/{key}" for key in ASKED]
    in_turn = {uri: ask(workflow, uri) for uri in questions}
    listed = make_workflow(tmp_path, s3, bucket)
    list_two_at_a_time(listed)
    sent = count_requests(listed)
    fill(listed)
    listings = len(sent)
    assert {uri: ask(listed, uri) for uri in questions} == in_turn
    assert in_turn[f"s3://{bucket}/work/up/a.txt"][0] and not in_turn[f"s3://{bucket}/work/up/none.txt"][0]
    outside = [key for key in ASKED if not key.startswith(f"{PREFIX}/")]
    assert listings >= 5 and len(sent) - listings <= 4 * len(outside), "nothing below the prefix is asked for again"


@pytest.mark.parametrize("prefix", ["", "/", "work/up/", "/work//up", "work/./up"])
def test_however_the_prefix_is_written(prefix: str, tmp_path: Path, s3: s3_server.S3Server, bucket: str) -> None:
    put(s3, bucket, {"work/up/a.txt": b"a"})
    workflow = make_workflow(tmp_path, s3, bucket, prefix)
    fill(workflow)
    sent = count_requests(workflow)
    base = f"s3://{bucket}/{prefix}"
    name = "a.txt" if "up" in prefix else "work/up/a.txt"
    assert ask(workflow, f"{base}/{name}")[0] and not ask(workflow, f"{base}/none.txt")[0]
    assert sent == []


@pytest.fixture
def videos(s3: s3_server.S3Server, bucket: str) -> str:
    """Another bucket, with 30 videos in a folder."""
    other = f"{bucket}-2"
    s3.client().create_bucket(Bucket=other)
    put(s3, other, {f"in/video {number}.mp4": b"v" * number for number in range(30)} | {"in/deep/photo.jpg": b"p"})
    return other


def test_another_bucket_is_asked_until_a_listing_is_cheaper(
    workflow: Any, tmp_path: Path, s3: s3_server.S3Server, bucket: str, videos: str
) -> None:
    questions = [f"s3://{videos}/in/video {number}.mp4" for number in range(31)]
    questions += [f"s3://{videos}/in/{name}" for name in ("deep", "deep/photo.jpg", "dee", "none.mp4")]
    in_turn = {uri: ask(workflow, uri) for uri in questions}
    listed = make_workflow(tmp_path, s3, bucket)
    fill(listed)
    sent = count_requests(listed)
    assert {uri: ask(listed, uri) for uri in questions} == in_turn
    assert in_turn[f"s3://{videos}/in/video 29.mp4"][0] and not in_turn[f"s3://{videos}/in/video 30.mp4"][0]
    assert len(sent) < 6 * (inventory.FEW + 2), "after some questions, the folder was listed"
    listed.iocache.deactivate()
    s3.client().delete_object(Bucket=videos, Key="in/video 29.mp4")
    assert not ask(listed, f"s3://{videos}/in/video 29.mp4")[0]


def test_a_large_folder_is_not_listed(workflow: Any, videos: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inventory, "MOST", 20)
    fill(workflow)
    assert all(ask(workflow, f"s3://{videos}/in/video {number}.mp4")[0] for number in range(30))
    assert not ask(workflow, f"s3://{videos}/in/none.mp4")[0]


def test_a_folder_that_may_not_be_listed_is_asked_object_by_object(
    tmp_path: Path, s3: s3_server.S3Server, bucket: str, videos: str, proxy: Proxy
) -> None:
    workflow = make_workflow(tmp_path, proxy.server, bucket)
    fill(workflow)
    proxy.inject("403", match="prefix=in%2F&")
    assert all(ask(workflow, f"s3://{videos}/in/video {number}.mp4")[0] for number in range(30))


def make_info(second: float, size: int) -> ObjectInfo:
    return ObjectInfo("etag", datetime.fromtimestamp(second, UTC), size)


def test_a_key_that_is_an_object_and_a_folder_counts_as_a_folder() -> None:
    """As in the plugin. The server of the tests allows no such keys, others do."""
    found = describe({"p/a": make_info(9, 100), "p/a/b": make_info(3, 1), "p/a/c/d": make_info(5.9, 2)}, "p/")
    assert {key: (one.time, one.size) for key, one in found.items()} == {
        "p/a": (5, 3),
        "p/a/b": (3, 1),
        "p/a/c": (5, 2),
        "p/a/c/d": (5, 2),
    }


@pytest.mark.parametrize("key", ["p//a", "/p/a", "p/./a", "p/x/../a", "p/a/"])
def test_a_key_that_the_plugin_cannot_ask_for_is_not_taken_for_another(key: str) -> None:
    assert "p/a" not in describe({key: make_info(1, 1)}, "p/" if key.startswith("p/") else "")


# When it does not hold -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "date",
    ["2026-11-28T02:25:37.125Z", "2026-11-28T02:25:37Z", "Sat, 28 Nov 2026 02:25:37 GMT", "1795832737", 1795832737],
)
def test_dates_are_read_as_botocore_reads_them(date: Any) -> None:
    assert inventory.read_date(date) == botocore.utils.parse_timestamp(date)


def test_clients_that_are_made_later_read_dates_so(s3: s3_server.S3Server) -> None:
    inventory.attach()
    assert s3.client()._response_parser._timestamp_parser is inventory.read_date


def test_a_date_that_cannot_be_read_is_an_error_of_the_listing() -> None:
    with pytest.raises(ValueError, match="Invalid timestamp"):
        inventory.read_date("2026-11-28T02:61:37Z")


def test_the_listing_is_good_for_the_plan_alone(workflow: Any, s3: s3_server.S3Server, bucket: str) -> None:
    fill(workflow)
    uri, new = f"s3://{bucket}/work/up/a.txt", f"s3://{bucket}/work/up/new.txt"
    s3.client().delete_object(Bucket=bucket, Key="work/up/a.txt")
    s3.client().put_object(Bucket=bucket, Key="work/up/new.txt", Body=b"new")
    assert ask(workflow, uri)[0] and not ask(workflow, new)[0], "one plan has one view"
    workflow.iocache.deactivate()  # as Snakemake does before the first job
    assert not ask(workflow, uri)[0] and ask(workflow, new)[0]


@pytest.mark.parametrize(
    "change",
    [
        lambda workflow: workflow.iocache.deactivate(),
        lambda workflow: setattr(workflow, "exec_mode", ExecMode.SUBPROCESS),
        lambda workflow: setattr(workflow.dag_settings, "trust_io_cache", True),
        lambda workflow: setattr(workflow.storage_settings, "default_storage_prefix", None),
        lambda workflow: setattr(workflow.storage_registry, "default_storage_provider", None),
    ],
)
def test_nothing_is_listed_where_snakemake_does_not_plan_in_s3(workflow: Any, change: Callable[[Any], None]) -> None:
    sent = count_requests(workflow)
    change(workflow)
    fill(workflow)
    assert sent == [] and not workflow.iocache.exists_in_storage


def test_a_listing_that_breaks_off_is_asked_for_again(
    tmp_path: Path, s3: s3_server.S3Server, bucket: str, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(s3, bucket)
    monkeypatch.setattr(OUTAGE, "answered", True)
    workflow = make_workflow(tmp_path, proxy.server, bucket)
    patience.make_patient(workflow.storage_registry.default_storage_provider.s3c.meta.client)
    list_two_at_a_time(workflow)
    for kind in ("503", "truncate", "reset"):
        proxy.inject(kind, match="list-type=2", skip=2, count=1)
    fill(workflow)
    assert [fault.acted for fault in proxy.faults] == [1, 1, 1]
    there = [key for key in THERE if key.startswith(f"{PREFIX}/") and not key.endswith("/")]
    sent = count_requests(workflow)
    assert all(ask(workflow, f"s3://{bucket}/{key}")[0] for key in there) and sent == []


def test_a_listing_that_is_refused_leaves_the_slow_way_and_says_so(
    tmp_path: Path, s3: s3_server.S3Server, bucket: str, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(s3, bucket)
    said: list[str] = []
    monkeypatch.setattr(inventory, "tell", lambda level, message: said.append(message))
    workflow = make_workflow(tmp_path, proxy.server, bucket)
    list_two_at_a_time(workflow)
    proxy.inject("403", match="list-type=2", skip=2, count=1)
    fill(workflow)
    assert len(said) == 1 and "Planning is slow" in said[0] and "AccessDenied" in said[0]
    assert ask(workflow, f"s3://{bucket}/work/up/x.txt/under-a-name.txt")[0]
    assert not ask(workflow, f"s3://{bucket}/work/up/none.txt")[0]


def test_it_fits_the_installed_snakemake_and_storage_plugin() -> None:
    from snakemake.dag import DAG

    attached = DAG.init
    inventory.attach()
    assert DAG.init is attached and attached.fills_inventory


@pytest.mark.parametrize("name", READS)
def test_another_version_is_named_and_plans_the_slow_way(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from snakemake.dag import DAG

    said: list[str] = []
    monkeypatch.setattr(inventory, "tell", lambda level, message: said.append(message))
    monkeypatch.setattr(DAG, "init", inspect.unwrap(DAG.init))
    monkeypatch.setattr(inventory, "READS", READS | {name: ("a line that it has no more",)})
    inventory.attach()
    assert "Planning is slow" in said[0] and not hasattr(DAG.init, "fills_inventory")


# As a user runs it ---------------------------------------------------------------------------------------------------

SCENES = "scenes=a,b,c,d,e"


def plan(head: Head, module: str) -> list[str]:
    """Each job of a dry run, with its files and its reason."""
    environment = {**head.environment, "PYTHONPATH": str(Path(one_by_one.__file__).parent)}
    run = run_snakemake(head.arguments("--config", SCENES, "-n"), head.folder, environment, 120, module)
    assert run.returncode == 0, run.stdout
    text = re.sub(r"^    jobid: .*\n", "", strip_colours(run.stdout), flags=re.MULTILINE)  # by chance, as the orders
    text = re.sub(r"(?<=reason: )(.*?: )(.*)", lambda found: found[1] + str(sorted(found[2].split(", "))), text)
    return sorted(re.findall(r"(?:local)?rule \w+:\n(?:    .*\n)+", text))


def test_a_dry_run_plans_the_same_with_a_fraction_of_the_requests(head: Head, proxy: Proxy) -> None:
    run = head.run("--config", SCENES)
    assert run.returncode == 0, run.stdout
    client, made = head.s3.client(), "work/results/{}/make/numbers.txt"
    time.sleep(1.1)  # the unit of dates
    client.delete_object(Bucket=head.bucket, Key="work/results/b/add/sum.txt")
    client.put_object(Bucket=head.bucket, Key=made.format("c"), Body=b"1\n2\n4\n")  # newer, and other content
    client.put_object(Bucket=head.bucket, Key=made.format("d"), Body=b"1\n2\n3\n")  # newer, and the same content
    client.put_object(Bucket=head.bucket, Key=made.format("e"), Body=b"")
    (head.folder / "deliver/b.txt").unlink()

    head.s3 = proxy.server
    in_turn = plan(head, "one_by_one")
    before = len(proxy.requests)
    listed = plan(head, "snakemake.cli")
    assert listed == in_turn
    assert len(listed) > 5, listed
    assert len(proxy.requests) - before < 15 < before

    run = head.run("--config", SCENES)
    assert run.returncode == 0, run.stdout
    assert plan(head, "snakemake.cli") == [], "what the run has made is seen"


def test_the_first_plan_of_many_scenes_asks_nothing_about_each_of_them(head: Head, proxy: Proxy) -> None:
    """By default, the memory of a job depends on the sizes of its inputs. Those that are not made yet have none."""
    head.s3 = proxy.server
    plan(head, "snakemake.cli")
    few = len(proxy.requests)
    names = ",".join(f"s{number}" for number in range(40))
    run = head.run("--config", f"scenes={names}", "-n", "--default-resources", "mem_mb=max(2*input.size_mb, 1000)")
    assert run.returncode == 0 and run.stdout.count("rule add:") >= 40, run.stdout
    assert len(proxy.requests) - few <= few
