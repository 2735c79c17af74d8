"""The few requests to S3 that copies need. Each job has a process of its own, in which boto3 would cost more time than
everything else that the job does.

https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html
"""

import datetime
import hashlib
import hmac
import http.client
import shutil
import urllib.parse
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

NAMESPACE = {"s3": "http://s3.amazonaws.com/doc/2006-03-01/"}
TIMEOUT = 60  # seconds


class S3Error(Exception):
    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code


@dataclass
class Store:
    """An S3 server and an account of it. Methods raise S3Error and OSError."""

    endpoint: str
    region: str
    access_key: str
    secret_key: str

    def get_bucket_names(self) -> list[str]:
        found = read_xml(self.request("GET", "/")).iterfind(".//s3:Bucket/s3:Name", NAMESPACE)
        return [name.text or "" for name in found]

    def create_bucket(self, bucket: str) -> None:
        self.request("PUT", f"/{bucket}").read()

    def list_objects(self, bucket: str, prefix: str) -> Iterator[tuple[str, int]]:
        """Names and sizes, page by page."""
        query = {"list-type": "2", "prefix": prefix}
        while True:
            page = read_xml(self.request("GET", f"/{bucket}", query))
            for entry in page.iterfind("s3:Contents", NAMESPACE):
                key, size = (entry.findtext(f"s3:{name}", "", NAMESPACE) for name in ("Key", "Size"))
                yield key, int(size)
            query["continuation-token"] = page.findtext("s3:NextContinuationToken", "", NAMESPACE)
            if not query["continuation-token"]:
                return

    def download(self, bucket: str, key: str, file: Path) -> None:
        with file.open("wb") as target:
            shutil.copyfileobj(self.request("GET", f"/{bucket}/{key}"), target)

    def upload(self, file: Path, bucket: str, key: str) -> None:
        with file.open("rb") as source:
            self.request("PUT", f"/{bucket}/{key}", body=source, size=file.stat().st_size).read()

    def delete(self, bucket: str, key: str) -> None:
        self.request("DELETE", f"/{bucket}/{key}").read()

    def request(
        self, method: str, path: str, query: dict[str, str] | None = None, body: BinaryIO | None = None, size: int = 0
    ) -> http.client.HTTPResponse:
        """The answer, whose connection ends with it."""
        url = urllib.parse.urlsplit(self.endpoint)
        kind = http.client.HTTPSConnection if url.scheme == "https" else http.client.HTTPConnection
        connection = kind(url.netloc, timeout=TIMEOUT)
        path = urllib.parse.quote(path, safe="/~")
        words = urllib.parse.urlencode(sorted((query or {}).items()), quote_via=urllib.parse.quote, safe="~")
        headers = {"Connection": "close", **self.sign(method, url.netloc, path, words)}
        if method == "PUT":
            headers["Content-Length"] = str(size)
        connection.request(method, f"{path}?{words}" if words else path, body=body, headers=headers)
        response = connection.getresponse()
        if response.status >= 300:
            raise read_error(response)
        return response

    def sign(self, method: str, host: str, path: str, query: str) -> dict[str, str]:
        now = datetime.datetime.now(datetime.UTC)
        time, day = f"{now:%Y%m%dT%H%M%SZ}", f"{now:%Y%m%d}"
        headers = {"host": host, "x-amz-content-sha256": "UNSIGNED-PAYLOAD", "x-amz-date": time}
        names = ";".join(headers)
        lines = "".join(f"{name}:{value}\n" for name, value in headers.items())
        request = "\n".join([method, path, query, lines, names, "UNSIGNED-PAYLOAD"])
        scope = f"{day}/{self.region}/s3/aws4_request"
        text = "\n".join(["AWS4-HMAC-SHA256", time, scope, hashlib.sha256(request.encode()).hexdigest()])
        key = f"AWS4{self.secret_key}".encode()
        for word in (*scope.split("/"), text):
            key = hmac.digest(key, word.encode(), "sha256")
        credential = f"Credential={self.access_key}/{scope}"
        return {
            **headers,
            "Authorization": f"AWS4-HMAC-SHA256 {credential}, SignedHeaders={names}, Signature={key.hex()}",
        }


def read_xml(response: http.client.HTTPResponse) -> ElementTree.Element:
    return ElementTree.fromstring(response.read())


def read_error(response: http.client.HTTPResponse) -> S3Error:
    try:
        answer = read_xml(response)
    except ElementTree.ParseError:
        return S3Error(str(response.status), response.reason)
    return S3Error(answer.findtext("Code", str(response.status)), answer.findtext("Message", response.reason))
