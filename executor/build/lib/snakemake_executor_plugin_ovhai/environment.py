"""Where things are, from environment variables: for profiles, and for the command snakemake-ovhai.

    OVHAI_DATASTORE   alias of the S3 data store, see `ovhai datastore list`
    OVHAI_BUCKET      bucket in it
    OVHAI_REGION      region of the bucket, such as gra
    OVHAI_PREFIX      everything goes below it (default: meshes)
    OVHAI_ENDPOINT    address of the S3 server (default: OVHcloud's of the region)
    OVHAI_FLAVOR      machine of the steps that need a GPU (default: ai1-1-gpu, a V100S)
    OVHAI_GPU         how many of its GPUs a job gets (default: 1)

The keys come from where the S3 storage plugin looks for them. They are not read here, only whether there are any.
"""

import os
import re
import sys
from dataclasses import dataclass
from pathlib import Path

# Each key's name for Snakemake's S3 storage plugin, and for AWS clients, which it falls back to.
KEYS = {
    "SNAKEMAKE_STORAGE_S3_ACCESS_KEY": "AWS_ACCESS_KEY_ID",
    "SNAKEMAKE_STORAGE_S3_SECRET_KEY": "AWS_SECRET_ACCESS_KEY",
}
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
class Place:
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


def read_environment() -> Place:
    """Ends the program with a list of all that is missing or wrong."""
    values = {name: os.environ.get(name, "") for name in ALLOWED}
    errors = [f"  {name} is not set: {meaning}" for name, meaning in NEEDED.items() if not values[name]]
    errors += [
        f"  {name} is {value!r}; it must look like {pattern}"
        for name, pattern in ALLOWED.items()
        if (value := values[name]) and not re.fullmatch(pattern, value)
    ]
    errors += [f"  {name} is not set: key of an S3 user of the bucket" for name in KEYS if not find_key(name)]
    if errors:
        text = "\n".join(errors)
        sys.exit(f"Settings for OVHcloud are missing or wrong; nothing was started:\n{text}\nSee docs/ovhcloud.md.")
    region = values["OVHAI_REGION"]
    return Place(
        values["OVHAI_DATASTORE"],
        values["OVHAI_BUCKET"],
        values["OVHAI_PREFIX"] or "meshes",
        region,
        # OVHcloud's documentation of data stores names this form of address.
        # The variable of the storage plugin comes first, because it beats the profile anyway.
        os.environ.get("SNAKEMAKE_STORAGE_S3_ENDPOINT_URL")
        or values["OVHAI_ENDPOINT"]
        or f"https://s3.{region}.io.cloud.ovh.net",
        values["OVHAI_FLAVOR"] or "ai1-1-gpu",
        int(values["OVHAI_GPU"] or 1),
    )


def find_key(name: str) -> bool:
    """Whether a key is in the environment or in the file of AWS clients."""
    file = Path(os.environ.get("AWS_SHARED_CREDENTIALS_FILE", "~/.aws/credentials")).expanduser()
    return bool(os.environ.get(name) or os.environ.get(KEYS[name])) or file.exists()
