"""Patience for Snakemake's plugin for SLURM. profiles/slurm calls this in the process that runs snakemake.

If the command that tells how jobs stand fails five times within seconds, the plugin forgets all its jobs, and the run
waits for ever (snakemake-executor-plugin-slurm 2.8.0). It fails while SLURM's controller restarts. Where there is no
database of jobs, sacct always fails, and the plugin asks it nevertheless whenever the controller is slow.
"""

import importlib
import inspect
import sys
from collections.abc import AsyncIterator
from subprocess import getstatusoutput
from typing import Any

PLUGIN = "snakemake_executor_plugin_slurm"
NO_ANSWER = (None, None)  # what the plugin's query returns then


def choose_status_command() -> str:
    """sacct where it answers, else squeue. From now on the plugin asks nothing else, and forgets no job."""
    command = "sacct" if getstatusoutput("sacct --noheader")[0] == 0 else "squeue"
    try:
        plugin: Any = importlib.import_module(PLUGIN)
    except ImportError:  # Snakemake says what to install
        return command
    if not is_known(plugin):
        print(
            f"This version of {PLUGIN} is not known. If SLURM does not answer for a while, the run may wait for ever: "
            "stop it with Ctrl-C, and start it again.",
            file=sys.stderr,
        )
    elif not hasattr(plugin.query_job_status, "patient"):
        keep_jobs(plugin)
        if command == "squeue":
            available = plugin.is_query_tool_available
            plugin.is_query_tool_available = lambda tool_name: tool_name != "sacct" and available(tool_name)
    return command


def is_known(plugin: Any) -> bool:
    """Whether the plugin still has the functions that are replaced, each looked up by its name at each call."""
    query, available = getattr(plugin, "query_job_status", None), getattr(plugin, "is_query_tool_available", None)
    check = getattr(getattr(plugin, "Executor", None), "check_active_jobs", None)
    return (
        (inspect.iscoroutinefunction(query) and list(inspect.signature(query).parameters) == ["command", "logger"])
        and (inspect.isfunction(available) and list(inspect.signature(available).parameters) == ["tool_name"])
        and (inspect.isasyncgenfunction(check) and list(inspect.signature(check).parameters) == ["self", "active_jobs"])
    )


def keep_jobs(plugin: Any) -> None:
    """Make the plugin ask again later if it got no answer."""
    query, check = plugin.query_job_status, plugin.Executor.check_active_jobs
    answered = True

    async def query_job_status(command: str, logger: Any) -> Any:
        nonlocal answered
        answer = await query(command, logger)
        answered = answer != NO_ANSWER
        return answer

    async def check_active_jobs(self: Any, active_jobs: list[Any]) -> AsyncIterator[Any]:
        """Yields the jobs that have not ended. Without an answer, the plugin yields none and reports none as ended."""
        nonlocal answered
        answered = True
        async for job in check(self, active_jobs):
            yield job
        if not answered:
            self.logger.warning(f"SLURM does not say how the {len(active_jobs)} jobs stand. It is asked again later.")
            for job in active_jobs:
                yield job

    query_job_status.patient = True  # type: ignore[attr-defined]
    plugin.query_job_status = query_job_status
    plugin.Executor.check_active_jobs = check_active_jobs
