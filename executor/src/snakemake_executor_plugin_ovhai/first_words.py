"""What a user is told before Snakemake plans: each thing that would keep the run from working, in one line.

Bucket and platform are asked once, side by side, within seconds. This happens where Snakemake makes its DAG API: then
all settings are known, wherever they come from, and nothing has been planned. So it holds for `snakemake -n`,
`--summary` and the like too, with and without a profile.

A plan needs the bucket but not the platform. So whatever is wrong with the platform ends only a real run; a dry run
warns of it. An outage of the platform or of the bucket's server ends nothing, since the executor waits for their end.
"""

import functools
import inspect
import os
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from . import environment
from .bucket import get_access
from .client import INSTALL, Client, NotAuthenticatedError, OvhaiError
from .credentials import hide_secrets
from .datastore import find_datastore_problem
from .errors import WorkflowError
from .outage import OUTAGE
from .place import PlaceError, Problem, split_storage_prefix
from .probe import Names, probe_bucket

PATIENCE = 20.0  # seconds for one call of `ovhai`, which takes a second or two


@dataclass
class Found:
    """What the first words know. account: the reply of `ovhai me`, so that nobody has to ask again."""

    datastore: str = ""
    account: Mapping[str, Any] | None = None
    platform: tuple[Problem, ...] = ()


FOUND = Found()


def attach(datastore: str) -> None:
    """Have Snakemake's API check everything first. May be called often; the last data store counts."""
    from snakemake.api import DAGApi, WorkflowApi  # the command snakemake-ovhai works without Snakemake

    FOUND.datastore = datastore
    if not fit(WorkflowApi, DAGApi):
        warn(
            "This version of Snakemake begins in a way that the executor does not know. Wrong keys, a wrong clock and "
            "the like are not told beforehand: run `snakemake-ovhai doctor` first."
        )
        return
    if not hasattr(WorkflowApi.dag, "first_words"):
        WorkflowApi.dag = before(WorkflowApi.dag, check_before_planning)
        DAGApi.execute_workflow = before(DAGApi.execute_workflow, check_before_running)


def fit(workflow_api: Any, dag_api: Any) -> bool:
    """Whether Snakemake's classes have what the checks stand before and read."""
    try:
        settings = inspect.signature(workflow_api).parameters
        arguments = inspect.signature(dag_api.execute_workflow).parameters
    except (AttributeError, TypeError, ValueError):
        return False
    known = {"storage_settings", "storage_provider_settings"} <= set(settings)
    return known and {"executor", "pseudo_executor"} <= set(arguments) and callable(getattr(workflow_api, "dag", None))


def before(method: Callable[..., Any], check: Callable[..., None]) -> Callable[..., Any]:
    @functools.wraps(method)
    def checked(self: Any, *arguments: Any, **named: Any) -> Any:
        check(self, **named)
        return method(self, *arguments, **named)

    checked.first_words = True  # type: ignore[attr-defined]
    return checked


def check_before_planning(workflow_api: Any, **_: Any) -> None:
    """WorkflowError if the bucket cannot be used. It then also names what is wrong with the platform."""
    storage = getattr(workflow_api, "storage_settings", None)
    settings = get_storage_settings(workflow_api)
    if storage is None or settings is None:
        return  # the executor says later that it needs S3
    in_bucket, in_platform = check_all(storage.default_storage_prefix or "", settings)
    FOUND.platform = tuple(in_platform)
    lasting = [problem for problem in in_bucket if not problem.passing]
    if lasting:
        raise stop([*lasting, *in_platform])
    OUTAGE.answered = True  # address and keys are right, so whatever fails from now on is worth waiting for
    for problem in in_bucket:
        warn(problem.line)


def check_before_running(dag_api: Any, pseudo_executor: str | None = None, executor: str = "", **_: Any) -> None:
    """WorkflowError if the platform cannot be used, although this is no dry run."""
    if executor != "ovhai":
        return
    lasting = [problem for problem in FOUND.platform if not problem.passing]
    if lasting and pseudo_executor is None:
        raise stop(lasting)
    for problem in FOUND.platform:
        warn(problem.line if problem.passing else f"A run would end here. {problem.line}")


def stop(problems: list[Problem]) -> WorkflowError:
    lines = "\n".join(f"  {problem.line}" for problem in problems)
    return WorkflowError(f"Nothing was started, because this is wrong:\n{lines}{get_help()}")


def get_help() -> str:
    page = environment.USED.help_page if environment.USED else ""
    return f"\n`snakemake-ovhai doctor` checks everything.{f' See {page}.' if page else ''}"


def warn(text: str) -> None:
    from snakemake.logging import logger

    logger.warning(text)


def get_storage_settings(workflow_api: Any) -> Any | None:
    """Those of the S3 storage plugin without a tag. None if the default storage is another one."""
    if getattr(workflow_api.storage_settings, "default_storage_provider", None) != "s3":
        return None
    tagged = workflow_api.storage_provider_settings.get("s3")
    return tagged.get_settings() if tagged is not None else None


def check_all(storage_prefix: str, settings: Any) -> tuple[list[Problem], list[Problem]]:
    """Problems of the bucket and of the platform."""
    access = get_access(settings)
    with ThreadPoolExecutor(2) as pool:
        client = Client(timeout=PATIENCE)
        names = get_names()
        platform = pool.submit(check_platform, client, FOUND.datastore, access.endpoint, names)
        try:
            bucket, prefix = split_storage_prefix(storage_prefix)
        except PlaceError as error:
            problem: Problem | None = Problem("bucket", str(error), f"correct {names.bucket}")
        else:
            problem = probe_bucket(access, bucket, prefix, names).problem
        return [problem] if problem else [], platform.result()


def check_platform(client: Client, datastore: str, endpoint: str, names: Names) -> list[Problem]:
    """Login and data store. An outage is a passing problem. No error leaves this function."""
    if not client.is_installed():
        return [Problem("program", "`ovhai` is not on PATH", f"{INSTALL}, and run `ovhai login`")]
    with ThreadPoolExecutor(1) as pool:
        listing = pool.submit(client.list_datastores)
        try:
            FOUND.account = client.get_account()
            rows = listing.result()
        except NotAuthenticatedError:
            return [Problem("login", "nobody is logged in, or the login has expired", "run `ovhai login`")]
        except OvhaiError as error:
            text = hide_secrets(f"it does not answer now; {error}")
            return [Problem("platform", text, "the run waits for it", passing=True)]
    problem = find_datastore_problem(rows, datastore, endpoint, names.endpoint) if datastore else None
    return [problem] if problem else []


def get_names() -> Names:
    """What this user calls the settings. A variable of the storage plugin overrides a profile."""
    profile = environment.USED is not None
    endpoint = "OVHAI_ENDPOINT" if os.environ.get("OVHAI_ENDPOINT") else "OVHAI_REGION or OVHAI_ENDPOINT"
    return Names(
        "OVHAI_BUCKET" if profile else "--default-storage-prefix",
        choose("SNAKEMAKE_STORAGE_S3_ENDPOINT_URL", endpoint if profile else "--storage-s3-endpoint-url"),
        choose("SNAKEMAKE_STORAGE_S3_REGION", "OVHAI_REGION" if profile else "--storage-s3-region"),
    )


def choose(variable: str, otherwise: str) -> str:
    return variable if os.environ.get(variable) else otherwise
