"""`ovhai datastore`, `ovhai bucket`, `ovhai bucket object`."""

import argparse
import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from ovhai_standin.answers import Refusal, table
from ovhai_standin.folder import PlatformFolder

SWIFT = ("GRA", "BHS", "DE", "SBG", "SGP", "UK", "WAW")  # built in; the stand-in has no Swift behind them


def datastore_list(folder: PlatformFolder, arguments: argparse.Namespace) -> str:
    rows = [[alias, "swift", "ovhcloud", "~"] for alias in SWIFT]
    stores = folder.settings()["data_stores"]
    rows += [[alias, "s3", "customer", store["endpoint"]] for alias, store in stores.items()]
    if arguments.output == "json":
        names = ("alias", "type", "owner", "endpoint")
        entries = [dict(zip(names, row, strict=True)) for row in rows]
        return json.dumps([{**entry, "owner": entry["owner"]} for entry in entries], indent=2) + "\n"
    return table(["ALIAS", "STORE_TYPE", "OWNER", "ENDPOINT"], rows)


def datastore_add(folder: PlatformFolder, arguments: argparse.Namespace) -> str:
    store = {
        "endpoint": arguments.endpoint,
        "region": arguments.region,
        "access_key": arguments.access_key,
        "secret_key": arguments.secret_key,
    }
    if arguments.alias in folder.settings()["data_stores"]:
        raise Refusal(f"error: 409: data store {arguments.alias} already exists")
    folder.change_settings(data_stores={arguments.alias: store})
    return f"Data store {arguments.alias} added\n"


def bucket_list(folder: PlatformFolder, arguments: argparse.Namespace) -> str:
    client = client_of(folder, arguments.data_store)
    names = [entry["Name"] for entry in called(client.list_buckets)["Buckets"]]
    names = [name for name in names if name.startswith(arguments.prefix)]
    rows = []
    for name in names:
        sizes = [entry["Size"] for entry in list_objects(client, name, "")]
        rows.append({"name": name, "count": len(sizes), "bytes": sum(sizes)})
    if arguments.output == "json":
        return json.dumps(rows, indent=2) + "\n"
    return table(["NAME", "OBJECTS", "BYTES"], [[str(value) for value in row.values()] for row in rows])


def bucket_create(folder: PlatformFolder, arguments: argparse.Namespace) -> str:
    called(client_of(folder, arguments.data_store).create_bucket, Bucket=arguments.name)
    return ""


def object_list(folder: PlatformFolder, arguments: argparse.Namespace) -> str:
    client, bucket = bucket_of(folder, arguments.bucket)
    entries = called(lambda: list(list_objects(client, bucket, arguments.prefix)))
    rows = [(entry["LastModified"].strftime("%Y-%m-%dT%H:%M:%SZ"), entry["Size"], entry["Key"]) for entry in entries]
    if arguments.output == "json":
        items = [{"key": key, "size": size, "last_modified": date} for date, size, key in rows]
        return json.dumps(items, indent=2) + "\n" if items else ""
    return table(["DATE", "BYTES", "NAME"], [[date, str(size), key] for date, size, key in rows])


def object_upload(folder: PlatformFolder, arguments: argparse.Namespace) -> str:
    """Objects are named by the paths as they were typed."""
    client, bucket = bucket_of(folder, arguments.bucket)
    if bucket not in [entry["Name"] for entry in called(client.list_buckets)["Buckets"]]:
        raise Refusal(f"error: container {bucket} does not exist")
    for file in typed_files(arguments.paths):
        key = arguments.add_prefix + str(file).removeprefix(arguments.remove_prefix)
        called(client.upload_file, str(file), bucket, key)
    return ""


def typed_files(paths: Iterable[str]) -> Iterable[Path]:
    for path in map(Path, paths):
        if not path.exists():
            raise Refusal(f"error: {path}: no such file or directory")
        yield from sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]


def object_download(folder: PlatformFolder, arguments: argparse.Namespace) -> str:
    client, bucket = bucket_of(folder, arguments.bucket)
    keys = chosen_keys(client, bucket, arguments)
    for key in keys:
        # The local path is the output text before the object's name: `-o out` makes `outname`, `-o out/` `out/name`.
        target = Path(arguments.output + key.removeprefix(arguments.remove_prefix).lstrip("/"))
        target.parent.mkdir(parents=True, exist_ok=True)
        called(client.download_file, bucket, key, str(target))
    return ""


def object_delete(folder: PlatformFolder, arguments: argparse.Namespace) -> str:
    client, bucket = bucket_of(folder, arguments.bucket)
    for key in chosen_keys(client, bucket, arguments):
        called(client.delete_object, Bucket=bucket, Key=key)
    return ""


def chosen_keys(client: Any, bucket: str, arguments: argparse.Namespace) -> list[str]:
    """Objects that are named, else those with the prefix, else, if all are asked for, all."""
    if arguments.objects:
        return list(arguments.objects)
    if not (arguments.prefix or arguments.all):
        raise Refusal("error: name objects, a prefix or --all")
    return [entry["Key"] for entry in called(lambda: list(list_objects(client, bucket, arguments.prefix)))]


def store_of(folder: PlatformFolder, place: str) -> dict[str, str]:
    alias = place.rpartition("@")[2]
    stores = folder.settings()["data_stores"]
    if alias not in stores:
        raise Refusal(f"error: 404: data store {alias} not found")
    return dict(stores[alias])


def client_of(folder: PlatformFolder, alias: str) -> Any:
    # Imported late: it takes longer than everything else that a call does.
    import boto3
    import botocore.config

    store = store_of(folder, alias)
    return boto3.client(
        "s3",
        endpoint_url=store["endpoint"],
        region_name=store["region"],
        aws_access_key_id=store["access_key"],
        aws_secret_access_key=store["secret_key"],
        config=botocore.config.Config(connect_timeout=5, retries={"max_attempts": 2}),
    )


def list_objects(client: Any, bucket: str, prefix: str) -> Iterator[dict[str, Any]]:
    for page in client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
        yield from page.get("Contents", [])


def bucket_of(folder: PlatformFolder, place: str) -> tuple[Any, str]:
    """container@data_store."""
    bucket, at, _ = place.rpartition("@")
    if not bucket or not at:
        raise Refusal(f"error: '{place}' is not container@data_store")
    return client_of(folder, place), bucket


def called(function: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
    """A call of the S3 client, whose errors end the command."""
    try:
        return function(*arguments, **named)
    except OSError:
        raise
    except Exception as error:
        raise Refusal(f"error: {error}")


def datastore_list_parser(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-o", "--output", choices=["json"])


def datastore_add_parser(parser: argparse.ArgumentParser) -> None:
    for name in ("alias", "endpoint", "region", "access_key", "secret_key"):
        parser.add_argument(name)
    parser.add_argument("--store-credentials-locally", action="store_true")


def bucket_list_parser(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("data_store")
    parser.add_argument("-p", "--prefix", default="")
    parser.add_argument("-o", "--output", choices=["json", "table"])


def bucket_create_parser(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("data_store")
    parser.add_argument("name")


def object_list_parser(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("bucket")
    parser.add_argument("-p", "--prefix", default="")
    parser.add_argument("-o", "--output", choices=["json"])


def object_upload_parser(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("bucket")
    parser.add_argument("paths", nargs="+")
    parser.add_argument("-a", "--add-prefix", default="")
    parser.add_argument("-r", "--remove-prefix", default="")
    parser.add_argument("-w", "--workers", type=int)


def object_download_parser(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("bucket")
    parser.add_argument("objects", nargs="*")
    parser.add_argument("-p", "--prefix", default="")
    parser.add_argument("-r", "--remove-prefix", default="")
    parser.add_argument("-o", "--output", default="")
    parser.add_argument("-w", "--workers", type=int)
    parser.set_defaults(all=True)


def object_delete_parser(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("bucket")
    parser.add_argument("objects", nargs="*")
    parser.add_argument("-p", "--prefix", default="")
    parser.add_argument("-a", "--all", action="store_true")
    parser.add_argument("-y", "--yes", action="store_true")
    parser.add_argument("-w", "--workers", type=int)


COMMANDS: dict[str, tuple[Callable[[Any], None], Callable[[PlatformFolder, argparse.Namespace], str]]] = {
    "datastore list": (datastore_list_parser, datastore_list),
    "datastore add s3": (datastore_add_parser, datastore_add),
    "bucket list": (bucket_list_parser, bucket_list),
    "bucket create": (bucket_create_parser, bucket_create),
    "bucket object list": (object_list_parser, object_list),
    "bucket object upload": (object_upload_parser, object_upload),
    "bucket object download": (object_download_parser, object_download),
    "bucket object delete": (object_delete_parser, object_delete),
}
