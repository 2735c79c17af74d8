"""Where the files are: bucket, prefix, address and region of the S3 server. Each is checked and normalised here only.

The S3 storage plugin normalises the keys of its objects, so `s3://b/a//b/` and `s3://b/a/b` are the same folder for it.
The executor puts programs beside the data and gives both to jobs, so it has to mean the same folder.
"""

import posixpath
import re
from dataclasses import dataclass
from urllib.parse import urlsplit

BUCKET = r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]"
REGION = r"[a-z0-9][a-z0-9-]*"
# What a part of a prefix must not have: Snakemake reads an address up to `?` or `#`, a volume up to `:`, `@` or `,`.
SPECIAL = "?#:@,"
OVHCLOUD = r"s3\.([a-z0-9-]+)\.(?:io|perf)\.cloud\.ovh\.\w+"


@dataclass(frozen=True)
class Problem:
    """Something that keeps a run from working. passing: it may be over when somebody asks again."""

    what: str
    text: str
    remedy: str
    passing: bool = False

    @property
    def line(self) -> str:
        return f"{self.what}: {' '.join(self.text.split())} -> {self.remedy}"


class PlaceError(ValueError):
    """The text says what is wrong with a place, and how to write it."""


def split_storage_prefix(prefix: str) -> tuple[str, str]:
    """Bucket and normalised prefix of `s3://BUCKET/PREFIX`. The prefix may be empty. PlaceError if it is none."""
    form = "write s3://BUCKET/PREFIX"
    if not prefix.startswith("s3://"):
        raise PlaceError(f"{prefix!r} does not begin with s3://; {form}")
    bucket, _, path = prefix.removeprefix("s3://").partition("/")
    if not re.fullmatch(BUCKET, bucket):
        raise PlaceError(f"{prefix!r} names a bucket {bucket!r}; {describe_bucket()}; {form}")
    return bucket, normalise_prefix(path)


def normalise_prefix(prefix: str) -> str:
    """Without slashes at the ends and without empty parts, as the storage plugin writes keys. PlaceError."""
    parts = [part for part in prefix.split("/") if part]
    if any(part in (".", "..") for part in parts):
        raise PlaceError(f"the prefix {prefix!r} has '.' or '..' as a part; write the path without it")
    found = sorted(set(SPECIAL) & set(prefix))
    if found:
        raise PlaceError(f"the prefix {prefix!r} has {' and '.join(map(repr, found))}, which no prefix may have")
    if any(part != part.strip() for part in parts):
        raise PlaceError(f"the prefix {prefix!r} has blanks at the end of a part; write it without them")
    return posixpath.join("", *parts)


def describe_bucket() -> str:
    return "a bucket's name has 3 to 63 small letters, digits, '.' and '-', with a letter or digit at both ends"


def find_endpoint_problem(endpoint: str, bucket: str) -> str:
    """What is wrong with the address of an S3 server, in words. Empty if nothing is, or if there is no address."""
    if not endpoint:
        return ""
    if endpoint != endpoint.strip():
        return f"{endpoint!r} has blanks at its ends; write {endpoint.strip()}"
    try:
        parts = urlsplit(endpoint)
        host, _ = parts.hostname or "", parts.port
    except ValueError as error:
        return f"{endpoint!r} is no address ({error}); write https://HOST"
    if parts.scheme not in ("http", "https") or not host:
        return f"{endpoint!r} does not begin with https:// and a host; write https://{endpoint.split('://')[-1]}"
    if re.search(r"\s", endpoint) or parts.query or parts.fragment or parts.username:
        return f"{endpoint!r} has more than a host; write {parts.scheme}://{host}"
    server = f"{parts.scheme}://{parts.netloc}"
    if bucket and parts.path.rstrip("/").endswith(f"/{bucket}"):
        return f"{endpoint!r} has the bucket at its end, but the bucket is set apart; write {server}"
    rest = host.removeprefix(f"{bucket}.")
    if bucket and rest != host and re.match(r"s3[.-]", rest):
        port = f":{parts.port}" if parts.port else ""
        return (
            f"{endpoint!r} has the bucket in its host name, but the bucket is set apart; "
            f"write {parts.scheme}://{rest}{port}"
        )
    return ""


def find_region_problem(region: str) -> str:
    """What is wrong with a region, in words. Empty if nothing is, or if there is none."""
    if not region or re.fullmatch(REGION, region):
        return ""
    better = region.strip().lower()
    return f"{region!r} has other than small letters, digits and '-'; " + (
        f"write {better}" if re.fullmatch(REGION, better) else "write a region such as gra"
    )


def get_ovhcloud_region(endpoint: str) -> str:
    """The region in the address of a server of OVHcloud's. Empty for other servers."""
    found = re.fullmatch(OVHCLOUD, urlsplit(endpoint).hostname or "")
    return found[1] if found else ""
