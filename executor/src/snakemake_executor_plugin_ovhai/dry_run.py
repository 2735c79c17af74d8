"""What a dry run would cost: `snakemake -n` says it at its end, and `snakemake-ovhai quote` makes a table of it.

Snakemake plans a dry run with an executor of its own, so the quote is attached to that one. No error of a quote ends a
dry run.
"""

import contextlib
import functools
import inspect
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .bill import load_charges
from .client import Client, OvhaiError
from .errors import WorkflowError
from .estimate import History, learn
from .first_words import FOUND, PATIENCE
from .flavors import Flavor, read_flavors, read_quota
from .labels import get_workflow_label
from .place import split_storage_prefix
from .prices import load_prices
from .quote import Planner, describe, to_record
from .sources import find_file

VARIABLE = "SNAKEMAKE_OVHAI_QUOTE"  # names the file into which a dry run writes its quote as JSON
LOST = (
    "Snakemake makes a dry run in another way than the executor ovhai knows ({}). `snakemake -n` and `snakemake-ovhai "
    "quote` do not say what a run will cost. The run itself says it before its first job."
)


ATTACHED: list[Any] = []  # the settings that count: Snakemake hands them to no dry run


def attach(settings: Any) -> None:
    """May be called often; the last settings count."""
    from snakemake.executors import dryrun
    from snakemake.logging import logger

    ATTACHED[:] = [settings]
    if problem := attach_to(dryrun.Executor):
        logger.warning(LOST.format(problem))


def attach_to(executor: Any) -> str:
    """Returns why that cannot be done with this class. Empty if it is done."""
    if hasattr(executor.__init__, "quotes"):
        return ""
    parameters = list(inspect.signature(executor.__init__).parameters)
    if parameters[:3] != ["self", "workflow", "logger"] or not callable(getattr(executor, "shutdown", None)):
        return f"its executor takes {', '.join(parameters[1:]) or 'nothing'}"
    begin, end = executor.__init__, executor.shutdown

    @functools.wraps(begin)
    def begin_with_quote(self: Any, workflow: Any, logger: Any) -> None:
        begin(self, workflow, logger)
        self.quote = make_quote(ATTACHED[-1], workflow, logger)

    @functools.wraps(end)
    def end_with_quote(self: Any) -> None:
        end(self)
        if self.quote:
            self.logger.info(self.quote)

    begin_with_quote.quotes = True  # type: ignore[attr-defined]
    executor.__init__, executor.shutdown = begin_with_quote, end_with_quote
    return ""


def make_quote(settings: Any, workflow: Any, logger: Any) -> str:
    """Empty if there are no jobs."""
    from .preflight import list_items  # it knows the settings, which attach this module

    try:
        prices = load_prices(find_file(settings.prices, workflow.main_snakefile) if settings.prices else None)
        client = Client(timeout=PATIENCE)
        flavors = {} if FOUND.platform else ask_for_flavors(client)
        place = split_storage_prefix(workflow.storage_settings.default_storage_prefix or "")
        history = History()
        if settings.bill and not FOUND.platform:
            history = learn(load_charges(settings.bill, get_workflow_label(*place), client, prices, flavors))
        quota = read_quota(FOUND.account or {})
        planner = Planner(settings.timeout_factor, prices, flavors, history, quota)
        with as_in_a_run(workflow):
            items = list_items(workflow.dag, settings, planner)
        if path := os.environ.get(VARIABLE):
            Path(path).write_text(json.dumps(to_record(items, prices.currency)), encoding="utf-8")
    except (ValueError, WorkflowError) as error:
        logger.warning(f"No quote: {error}")
        return ""
    except Exception as error:
        logger.warning(f"No quote, because of an unexpected {error!r}")
        return ""
    return describe(items, prices.currency) if items else ""


@contextlib.contextmanager
def as_in_a_run(workflow: Any) -> Iterator[None]:
    """Let Snakemake see its jobs as in a real run. In a dry run all count as local, and get one core if none is set."""
    from snakemake_interface_executor_plugins.registry import ExecutorPluginRegistry

    plugin, cores = workflow._executor_plugin, workflow.global_resources["_cores"]
    workflow._executor_plugin = ExecutorPluginRegistry().get_plugin("ovhai")
    if workflow.global_resources["_cores"].value == 1:
        workflow.global_resources["_cores"] = None
    forget_resources(workflow.dag)
    try:
        yield
    finally:
        workflow._executor_plugin, workflow.global_resources["_cores"] = plugin, cores
        forget_resources(workflow.dag)


def forget_resources(dag: Any) -> None:
    """Have them evaluated again."""
    for step in dag.needrun_jobs():
        step._resources = None
        if group := dag.get_job_group(step):
            group._resources = None


def ask_for_flavors(client: Client) -> dict[str, Flavor]:
    """Empty if the platform does not answer."""
    try:
        return read_flavors(client.list_flavors())
    except OvhaiError:
        return {}
