"""Read from environment variables where the user's bucket and data store are. Profiles call read_environment().

    OVHAI_DATASTORE   alias of the S3 data store, as `ovhai datastore list` shows it
    OVHAI_BUCKET      bucket in this data store
    OVHAI_REGION      region of the bucket, such as gra
    OVHAI_PREFIX      prefix of all files of the workflow (default: the profile's)
    OVHAI_ENDPOINT    address of the S3 server (default: OVHcloud's server of the region)
    OVHAI_FLAVOR      flavor of the steps that need a GPU (default: the profile's)
    OVHAI_GPU         number of GPUs that a job gets (default: 1)

The keys stay where the S3 storage plugin looks for them. This module only checks whether there are any.
"""

import os
import re
import sys
from dataclasses import dataclass

from .credentials import find_missing_keys

NEEDED = {
    "OVHAI_DATASTORE": "the alias of your S3 data store; `ovhai datastore list` shows it",
    "OVHAI_BUCKET": "the name of your bucket in this data store",
    "OVHAI_REGION": "the region of the bucket in small letters, such as gra",
}
ALLOWED = {
    "OVHAI_DATASTORE": r"[A-Za-z0-9_.-]+",
    "OVHAI_BUCKET": r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]",
    "OVHAI_REGION": r"[a-z0-9-]+",
    "OVHAI_PREFIX": r"[A-Za-z0-9_.-]+(/[A-Za-z0-9_.-]+)*",
    "OVHAI_ENDPOINT": r"https?://[^\s/]+/?",
    "OVHAI_FLAVOR": r"[a-z0-9-]+",
    "OVHAI_GPU": r"[1-9]",
}


@dataclass(frozen=True)
class Environment:
    """What a profile needs. flavor is empty for the platform's default."""

    datastore: str
    bucket: str
    prefix: str
    region: str
    endpoint: str
    flavor: str
    gpu: int

    @property
    def storage_prefix(self) -> str:
        return f"s3://{self.bucket}/{self.prefix}"


def read_environment(prefix: str, flavor: str = "", help_page: str = "") -> Environment:
    """prefix and flavor: what counts if their variables are not set. help_page: where a user finds help.

    If variables are missing or wrong, the program ends with a list of all of them.
    """
    values = {name: os.environ.get(name, "") for name in ALLOWED}
    errors = [f"  {name} is not set: {meaning}" for name, meaning in NEEDED.items() if not values[name]]
    errors += [
        f"  {name} is {value!r}; it must look like {pattern}"
        for name, pattern in ALLOWED.items()
        if (value := values[name]) and not re.fullmatch(pattern, value)
    ]
    errors += [f"  {name} is not set: a key of an S3 user of the bucket" for name in find_missing_keys()]
    if errors:
        lines = ["Settings for OVHcloud are missing or wrong; nothing was started:", *errors]
        sys.exit("\n".join([*lines, f"See {help_page}."] if help_page else lines))
    return Environment(
        values["OVHAI_DATASTORE"],
        values["OVHAI_BUCKET"],
        values["OVHAI_PREFIX"] or prefix,
        values["OVHAI_REGION"],
        find_endpoint(),
        values["OVHAI_FLAVOR"] or flavor,
        int(values["OVHAI_GPU"] or 1),
    )


def find_endpoint() -> str:
    """The address of the S3 server. Empty if no variable tells."""
    # The storage plugin's own variable comes first, since it also overrides a profile.
    for name in ("SNAKEMAKE_STORAGE_S3_ENDPOINT_URL", "OVHAI_ENDPOINT"):
        if address := os.environ.get(name):
            return address
    region = os.environ.get("OVHAI_REGION")
    # OVHcloud's documentation of data stores has this form of address.
    return f"https://s3.{region}.io.cloud.ovh.net" if region else ""
