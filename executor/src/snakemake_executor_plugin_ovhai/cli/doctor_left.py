"""The doctor's check of live jobs that no run watches."""

from collections.abc import Iterator

from ..bucket import BucketError
from ..client import Client, OvhaiError
from .finding import Finding
from .reap import choose_root, describe, open_place
from .selection import CommandError


def check_left_jobs(
    client: Client, bucket: str, prefix: str | None, endpoint: str, region: str | None
) -> Iterator[Finding]:
    """Nothing if the platform does not answer, which other checks tell."""
    try:
        jobs = client.list_jobs()
        watch = choose_root(open_place(bucket, prefix, endpoint, region), jobs, prefix).look(jobs)
    except OvhaiError:
        return
    except (BucketError, CommandError) as error:
        yield Finding("left jobs", f"it is not known whether there are any: {error}")
        return
    if watch.left:
        text = f"{describe(len(watch.left))} live and cost money, although no run watches them"
        yield Finding("left jobs", text, "run the workflow again, which takes them over, or `snakemake-ovhai reap`")
    elif watch.unknown:
        yield Finding("left jobs", f"it is not known whether a run watches {describe(len(watch.unknown))}")
    else:
        yield Finding("left jobs", "there are none")
