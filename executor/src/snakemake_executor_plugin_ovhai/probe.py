"""Ask the bucket once whether everything is right: address, TLS, keys, region, clock, bucket.

The request is a GET that lists one object. An answer to HEAD has no body, so it would not tell a wrong key from a wrong
clock. `doctor` and the first words of a run ask in this way, and say the same.
"""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

import botocore.exceptions
import botocore.parsers

from .bucket import Access, make_client
from .credentials import KEYS, hide_secrets
from .place import Problem, find_endpoint_problem, find_region_problem, get_ovhcloud_region

CONNECT, READ, ATTEMPTS = 4.0, 8.0, 2  # seconds and requests: somebody waits at a terminal
LARGEST_SKEW = timedelta(minutes=15)  # S3 servers refuse requests of clocks that differ by more
SET_CLOCK = "set this machine's clock, such as by `timedatectl set-ntp true`"
CREATE = "or create it: `ovhai bucket create DATA_STORE NAME`"
NO_S3 = "does not answer as an S3 server does"
NO_TLS = r"WRONG_VERSION|UNKNOWN_PROTO|record layer"
WORDS_FOR_KEYS = "to a key of an S3 user of the project"
# What boto3 raises if there is no answer that it can read.
SILENCE = (botocore.exceptions.BotoCoreError, botocore.parsers.ResponseParserError, ValueError, RecursionError)


@dataclass(frozen=True)
class Names:
    """What a user calls the settings: options, or environment variables."""

    bucket: str
    endpoint: str
    region: str


@dataclass(frozen=True)
class Answer:
    """ahead: how far the server's clock is ahead of this machine's; None if that is not known."""

    problem: Problem | None = None
    ahead: timedelta | None = None


def probe_bucket(access: Access, bucket: str, prefix: str, names: Names) -> Answer:
    """prefix: of the workflow's files, normalised. No error leaves this function."""
    if text := find_endpoint_problem(access.endpoint, bucket):
        return Answer(Problem("endpoint", text, f"correct {names.endpoint}"))
    if text := find_region_problem(access.region):
        return Answer(Problem("region", text, f"correct {names.region}"))
    try:
        client = make_client(access, CONNECT, READ, ATTEMPTS)
        reply = client.list_objects_v2(Bucket=bucket, Prefix=f"{prefix}/" if prefix else "", MaxKeys=1)
    except botocore.exceptions.ClientError as error:
        headers = error.response.get("ResponseMetadata", {}).get("HTTPHeaders", {})
        ahead = read_clock(headers)
        return Answer(hide(explain_refusal(error, access, bucket, names, ahead)), ahead)
    except (
        botocore.exceptions.BotoCoreError,
        botocore.parsers.ResponseParserError,
        ValueError,
        RecursionError,
    ) as error:
        return Answer(hide(explain_silence(error, access, bucket, names)))
    other = reply.get("Name")
    ahead = read_clock(reply["ResponseMetadata"]["HTTPHeaders"])
    if other and other != bucket:
        text = f"{access.endpoint} answers for the bucket {other}, although {bucket} was asked for"
        return Answer(
            Problem("endpoint", text, f"set {names.endpoint} to the server's address without a bucket"), ahead
        )
    return Answer(ahead=ahead)


def read_clock(headers: Mapping[str, str]) -> timedelta | None:
    try:
        return parsedate_to_datetime(headers["date"]).astimezone(UTC) - datetime.now(UTC)
    except (KeyError, ValueError, TypeError):
        return None


def describe_clock(ahead: timedelta, whose: str) -> str:
    seconds = ahead.total_seconds()
    length = f"{abs(seconds):.0f} s" if abs(seconds) < 600 else f"{abs(seconds) / 60:.0f} minutes"
    return f"{whose} is {length} {'ahead of' if seconds > 0 else 'behind'} this machine"


def explain_refusal(
    error: botocore.exceptions.ClientError, access: Access, bucket: str, names: Names, ahead: timedelta | None
) -> Problem:
    """The server has answered, and it refuses."""
    found: Mapping[str, Any] = error.response.get("Error", {})
    code, message = str(found.get("Code", "")), str(found.get("Message", ""))
    meta: Mapping[str, Any] = error.response.get("ResponseMetadata", {})
    status, headers = int(meta.get("HTTPStatusCode") or 0), meta.get("HTTPHeaders", {})
    said = f"the server says {code}" + (f": {message}" if message and message != "Unknown" else "")
    where = f"s3://{bucket} at {access.endpoint or 'AWS'}"
    # boto3 makes a bare 500 of a page that says 200 and is not S3's; S3 itself would say InternalError.
    no_s3 = status == 404 or code == "500"
    if (status >= 500 and not no_s3) or code in ("SlowDown", "429"):
        return Problem("bucket", f"{where} does not answer now; {said}", "try again later", passing=True)
    if code == "RequestTimeTooSkewed" or (status in (400, 401, 403) and ahead and abs(ahead) > LARGEST_SKEW):
        difference = describe_clock(ahead, "the bucket") if ahead else "the bucket's clock differs from this machine's"
        return Problem("clock", f"{difference}, so the bucket refuses all requests", SET_CLOCK)
    if code == "NoSuchBucket":
        return Problem("bucket", f"{where} does not exist", f"correct {names.bucket}, {CREATE}")
    region = headers.get("x-amz-bucket-region") or found.get("Region")
    if 300 <= status < 400:
        target = headers.get("location")
        place = f"in region {region}" if region else f"at {target}" if target else "without saying where"
        return Problem("region", f"{where} is served elsewhere, {place} ({status})", correct_place(names))
    own = get_ovhcloud_region(access.endpoint)
    if status in (400, 403) and own and access.region and access.region.lower() != own:
        text = f"{access.endpoint} is in region {own}, but the region is set to {access.region}"
        return Problem("region", text, f"set {names.region} to {own}")
    if code in ("AuthorizationHeaderMalformed", "IllegalLocationConstraintException", "InvalidRegion"):
        remedy = f"set {names.region} to {region}" if region else correct_place(names)
        return Problem("region", f"{where} is not in region {access.region}; {said}", remedy)
    if code in ("InvalidAccessKeyId", "InvalidClientTokenId"):
        return Problem("key", f"{where} does not know the access key", f"set {name_key(0)} {WORDS_FOR_KEYS}")
    if code == "SignatureDoesNotMatch":
        text = f"{where} knows the access key, but the secret key is not the one that belongs to it"
        return Problem("key", text, f"set {name_key(1)} to the access key's secret key, and check {names.region}")
    if code in ("InvalidToken", "ExpiredToken", "TokenRefreshRequired"):
        token = "SNAKEMAKE_STORAGE_S3_TOKEN"
        token = token if os.environ.get(token) else "AWS_SESSION_TOKEN"
        return Problem("key", f"{where} refuses the session token; {said}", f"set {token} anew, or unset it")
    if status in (401, 403):
        return Problem(
            "rights",
            f"{where} may not be read with these keys, or it belongs to another project; {said}",
            f"give their S3 user the role ObjectStore Operator and rights on the bucket, or correct {names.bucket}",
        )
    if no_s3:
        text = f"{access.endpoint or 'AWS'} {NO_S3}; {said}"
        return Problem("endpoint", text, f"correct {names.endpoint}")
    return Problem("bucket", f"{where} refuses to be listed; {said}", f"check {names.endpoint} and {names.region}")


def correct_place(names: Names) -> str:
    return f"correct {names.region} and {names.endpoint}"


def explain_silence(error: Exception, access: Access, bucket: str, names: Names) -> Problem:
    """There is no answer, or none that can be read."""
    place = access.endpoint or "AWS"
    host = urlsplit(access.endpoint).hostname or "the server's host"
    remedy = f"check this machine's network, and {names.endpoint}"
    reason = " ".join(str(error).split())
    if isinstance(error, botocore.exceptions.PartialCredentialsError):
        text = "only one of the two keys of the bucket is set"
        return Problem("key", text, f"set both {' and '.join(KEYS)}")
    if isinstance(error, (botocore.exceptions.NoCredentialsError, botocore.exceptions.CredentialRetrievalError)):
        return Problem("key", "there are no keys of the bucket", f"set {' and '.join(KEYS)}")
    if isinstance(error, botocore.exceptions.ProfileNotFound):
        return Problem("key", f"{reason}", "correct AWS_PROFILE, or unset it")
    if isinstance(error, (botocore.exceptions.ConnectTimeoutError, botocore.exceptions.ReadTimeoutError)):
        return Problem("network", f"{place} does not answer within seconds", remedy)
    if isinstance(error, botocore.exceptions.ProxyConnectionError):
        return Problem("network", f"the proxy for {place} does not answer", "check HTTPS_PROXY and HTTP_PROXY")
    if isinstance(error, botocore.exceptions.SSLError) and re.search(
        r"WRONG_VERSION|UNKNOWN_PROTO|record layer", reason
    ):
        return Problem("TLS", f"{place} does not speak TLS", f"write http:// in {names.endpoint} if that is meant")
    if isinstance(error, botocore.exceptions.SSLError):
        return Problem("TLS", f"{place} cannot be trusted: {shorten_tls(reason)}", explain_tls(reason, names))
    if isinstance(error, botocore.exceptions.EndpointConnectionError):
        # The text of the error leaves its reason out.
        reason = str(error.kwargs.get("error", ""))
        if re.search(r"resolve|name or service|nodename|getaddrinfo", reason, re.IGNORECASE):
            return Problem("network", f"the host name {host} is not known", remedy)
        known = re.search(r"Connection refused|No route to host|Network is unreachable", reason)
        return Problem("network", f"{place} cannot be reached{f' ({known[0]})' if known else ''}", remedy)
    if isinstance(error, botocore.exceptions.ConnectionClosedError):
        return Problem("network", f"{place} closes the connection", f"{remedy}: is it http or https?")
    if isinstance(error, botocore.parsers.ResponseParserError):
        return Problem("endpoint", f"{place} {NO_S3}", f"correct {names.endpoint}")
    if isinstance(error, RecursionError):
        return Problem("region", f"{place} sends each request elsewhere", correct_place(names))
    if isinstance(error, botocore.exceptions.ParamValidationError):
        return Problem("bucket", f"{bucket!r} cannot be a bucket's name", f"correct {names.bucket}")
    if isinstance(error, ValueError):
        return Problem("endpoint", f"{reason}", f"correct {names.endpoint}")
    return Problem("bucket", f"s3://{bucket} at {place}: {reason}", f"check {names.endpoint} and the network")


def shorten_tls(reason: str) -> str:
    found = re.search(r"certificate verify failed: ([^(\]]+)", reason)
    return found[1].strip() if found else reason[-200:]


def explain_tls(reason: str, names: Names) -> str:
    if re.search(r"expired|not yet valid", reason):
        return f"if this machine's clock is wrong, {SET_CLOCK.partition(',')[0]}; else ask who runs the server"
    return f"check {names.endpoint}; if the certificate is your own, set AWS_CA_BUNDLE to its file"


def name_key(index: int) -> str:
    """Where the access key (0) or the secret key (1) comes from."""
    names = list(KEYS.items())[index]
    set_ones = [name for name in names if os.environ.get(name)]
    return set_ones[0] if set_ones else f"the key in ~/.aws/credentials, or {names[0]},"


def hide(problem: Problem) -> Problem:
    return Problem(problem.what, hide_secrets(problem.text), hide_secrets(problem.remedy), problem.passing)
