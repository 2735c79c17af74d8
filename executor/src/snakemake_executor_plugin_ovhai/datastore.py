"""The data store, through which jobs reach the bucket: what the platform's list says about it."""

from urllib.parse import urlsplit

from .place import Problem

ADD = "`ovhai datastore add s3 ALIAS ENDPOINT REGION ACCESS_KEY SECRET_KEY` adds one"
# A data store that was added with --store-credentials-locally exists in one region of the program only.
CONTEXT = "`ovhai config list` shows the region in which `ovhai` looks"


def find_datastore_problem(listing: str, datastore: str, endpoint: str, setting: str) -> Problem | None:
    """listing: what `ovhai datastore list` prints. endpoint: the S3 server of Snakemake's storage, if that is known.

    setting: what a user calls the endpoint.
    """
    rows = [line.split() for line in listing.splitlines()]
    stores = {row[0]: row[1:] for row in rows if row and row[0] != "ALIAS"}
    if datastore not in stores:
        known = ", ".join(name for name, columns in stores.items() if "s3" in columns) or "none"
        same = [name for name in stores if name.lower() == datastore.strip().lower()]
        text = f"{datastore!r} is unknown; S3 data stores are {known}"
        return Problem("data store", text, f"write {same[0]}" if same else f"{ADD}; {CONTEXT}")
    kind = next(iter(stores[datastore]), "")
    if kind != "s3":
        return Problem("data store", f"{datastore} is of type {kind or 'unknown'}, but jobs need type s3", ADD)
    address = next((column for column in stores[datastore] if "://" in column), None)
    if address and endpoint and get_host(address) != get_host(endpoint):
        text = f"{datastore} is at {address}, but Snakemake's storage is at {endpoint}: jobs would read another bucket"
        remedy = f"choose a data store of the same server, or correct {setting}"
        # Any other server may have several names, of which the platform needs another one than this machine.
        surely = any(".cloud.ovh." in get_host(where) for where in (address, endpoint))
        return Problem("data store", text if surely else f"{text}, unless it is one server", remedy, passing=not surely)
    return None


def get_host(address: str) -> str:
    """The server of an address. OVHcloud has two addresses for the same buckets."""
    parts = urlsplit(address.lower())
    default = {"https": 443, "http": 80}.get(parts.scheme)
    try:
        port = f":{parts.port}" if parts.port and parts.port != default else ""
    except ValueError:
        port = ""
    return (parts.hostname or "").replace(".perf.cloud.ovh", ".io.cloud.ovh") + port
