"""Read from environment variables where the user's bucket and data store are. Profiles call read_environment().

    OVHAI_DATASTORE   alias of the S3 data store, as `ovhai datastore list` shows it
    OVHAI_BUCKET      bucket in this data store
    OVHAI_REGION      region of the bucket, such as gra
    OVHAI_PREFIX      prefix of all files of the workflow (default: the profile's)
    OVHAI_ENDPOINT    address of the S3 server (default: OVHcloud's server of the region)
    OVHAI_FLAVOR      flavor of the steps that need a GPU (default: the profile's)
    OVHAI_GPU         number of GPUs that a job gets (default: 1)

The keys stay where the S3 storage plugin looks for them. This module checks how the variables are written. Whether
bucket and platform accept them is what first_words.py asks.
"""

import os
import re
import sys
from dataclasses import dataclass

from .credentials import find_missing_keys
from .place import BUCKET, REGION, PlaceError, describe_bucket, find_endpoint_problem, normalise_prefix

NEEDED = {
    "OVHAI_DATASTORE": "the alias of your S3 data store; `ovhai datastore list` shows it",
    "OVHAI_BUCKET": "the name of your bucket in this data store",
    "OVHAI_REGION": "the region of the bucket in small letters, such as gra",
}
# Variable -> what it may look like, as a regular expression and in words.
ALLOWED = {
    "OVHAI_DATASTORE": (r"[A-Za-z0-9_.-]+", "an alias has letters, digits, '.', '_' and '-'"),
    "OVHAI_BUCKET": (BUCKET, describe_bucket()),
    "OVHAI_REGION": (REGION, "a region has small letters, digits and '-', such as gra"),
    "OVHAI_PREFIX": (
        r"[A-Za-z0-9_.-]+(/[A-Za-z0-9_.-]+)*",
        "a prefix has letters, digits, '.', '_', '-', and single slashes between its parts",
    ),
    "OVHAI_ENDPOINT": (r"https?://[^\s/]+/?", "an address is https:// and a host, without a path"),
    "OVHAI_FLAVOR": (r"[a-z0-9-]+", "a flavor has small letters, digits and '-', such as ai1-1-gpu"),
    "OVHAI_GPU": (r"[1-9]", "it is a number from 1 to 9"),
}


@dataclass(frozen=True)
class Environment:
    """What a profile needs. flavor is empty for the platform's default. help_page: where a user finds help."""

    datastore: str
    bucket: str
    prefix: str
    region: str
    endpoint: str
    flavor: str
    gpu: int
    help_page: str = ""

    @property
    def storage_prefix(self) -> str:
        return f"s3://{self.bucket}/{self.prefix}"


USED: Environment | None = None  # what a profile of this process has read


def read_environment(prefix: str, flavor: str = "", help_page: str = "") -> Environment:
    """prefix and flavor: what counts if their variables are not set. help_page: where a user finds help.

    If variables are missing or wrong, the program ends with a list of all of them.
    """
    global USED
    values = {name: os.environ.get(name, "") for name in ALLOWED}
    errors = [f"  {name} is not set: {meaning}" for name, meaning in NEEDED.items() if not values[name].strip()]
    errors += [
        f"  {name} is {value!r}: {problem}"
        for name, value in values.items()
        if (value.strip() or (value and name not in NEEDED)) and (problem := find_problem(name, value, values))
    ]
    errors += [f"  {name} is not set: a key of an S3 user of the bucket" for name in find_missing_keys()]
    if errors:
        lines = ["Settings for OVHcloud are missing or wrong; nothing was started:", *errors]
        sys.exit("\n".join([*lines, f"See {help_page}."] if help_page else lines))
    USED = Environment(
        values["OVHAI_DATASTORE"],
        values["OVHAI_BUCKET"],
        values["OVHAI_PREFIX"] or prefix,
        values["OVHAI_REGION"],
        find_endpoint(),
        values["OVHAI_FLAVOR"] or flavor,
        int(values["OVHAI_GPU"] or 1),
        help_page,
    )
    return USED


def find_problem(name: str, value: str, values: dict[str, str]) -> str:
    """What is wrong with a variable, in words, and what to write if that can be guessed. Empty if nothing is."""
    pattern, words = ALLOWED[name]
    if name == "OVHAI_ENDPOINT" and (problem := find_endpoint_problem(value, values["OVHAI_BUCKET"])):
        return problem.removeprefix(f"{value!r} ")
    if name == "OVHAI_PREFIX":
        try:
            normalise_prefix(value)
        except PlaceError as error:
            return str(error)
    if re.fullmatch(pattern, value):
        return ""
    better = guess(name, value)
    return words + (f"; write {better}" if re.fullmatch(pattern, better) else "")


def guess(name: str, value: str) -> str:
    """What a user may have meant."""
    better = value.strip().strip("'\"").strip()
    if name in ("OVHAI_BUCKET", "OVHAI_PREFIX"):
        better = "/".join(part for part in better.removeprefix("s3://").split("/") if part)
    if name == "OVHAI_BUCKET":
        return better.split("/")[0]
    return better.lower() if name in ("OVHAI_REGION", "OVHAI_FLAVOR") else better


def find_endpoint() -> str:
    """The address of the S3 server. Empty if no variable tells."""
    # The storage plugin's own variable comes first, since it also overrides a profile.
    for name in ("SNAKEMAKE_STORAGE_S3_ENDPOINT_URL", "OVHAI_ENDPOINT"):
        if address := os.environ.get(name):
            return address
    region = os.environ.get("OVHAI_REGION")
    # OVHcloud's documentation of data stores has this form of address.
    return f"https://s3.{region}.io.cloud.ovh.net" if region else ""
