"""A run says how it stands, on its own terminal or in its log, and writes down what it has to do for a second one."""

import atexit
import logging
import logging.handlers
import os
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from rich.console import Console

from videomesh.progress.events import Events, list_failed
from videomesh.progress.runs import BEAT, RUNS, name_run, remove_killed, remove_run, write_run
from videomesh.progress.show import describe_scene, describe_totals, show
from videomesh.progress.state import Status, read_status
from videomesh.progress.stores import open_store

SHORTEST, LONGEST = 60.0, 600.0  # seconds between two reports, if something has changed or not
MOST = 20  # scenes of one report
PATIENCE = 10.0  # seconds to wait at the end for a report that is being made; a bucket may be silent


class Watch:
    """A thread beside Snakemake's scheduler. It never ends a run: what it cannot do is left out."""

    def __init__(
        self,
        root: Path,
        scenes: Mapping[str, dict[str, Any]],
        workflow: Any,
        logger: logging.Logger,
        events: Events | None = None,
    ) -> None:
        """events: what is told elsewhere, if anything is."""
        self.root, self.scenes, self.workflow, self.logger = root.absolute(), scenes, workflow, logger
        self.began = self.reported = time.time()
        self.planned: set[str] | None = None
        self.changed = False
        self.events = events
        self.failed: dict[str, str] = {}  # scene -> rule of a job that failed for good
        self.status: Status | None = None  # as it was told last
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self.work, daemon=True)

    def start(self) -> None:
        if self.events and not hasattr(getattr(self.workflow, "scheduler", None), "failed"):
            self.logger.warning("This version of Snakemake does not say which jobs failed: no notification tells it.")
        if self.events:
            atexit.register(self.stop, False)  # Snakemake calls no hook if an error of its own ends the run
        self.guard(lambda: remove_killed(self.root))
        self.guard(self.beat)
        self.thread.start()

    def stop(self, success: bool) -> None:
        """The run has ended: nothing is under way any more, and the last report says how it stands.

        A second call does nothing.
        """
        if self.ended.is_set():
            return
        self.ended.set()
        self.thread.join(PATIENCE)
        self.guard(lambda: remove_run(self.root))
        self.status = None
        self.guard(self.note_failures)
        self.guard(self.report)
        if events := self.events:
            self.guard(lambda: events.end(self.status, self.failed, success))

    def work(self) -> None:
        while not self.ended.wait(BEAT):
            self.guard(self.beat)
            if time.time() - self.reported >= (SHORTEST if self.changed else LONGEST):
                self.guard(self.report)

    def guard(self, act: Callable[[], None]) -> None:
        try:
            act()
        except Exception as error:
            self.logger.debug(f"The progress could not be told: {error!r}")

    def beat(self) -> None:
        """Write down what is still to be made if that has changed; else only a sign of life."""
        self.guard(self.note_failures)
        planned = list_planned(self.workflow.dag)
        if planned == self.planned:
            os.utime(self.root / RUNS / name_run())
            return
        write_run(self.root, self.began, planned)
        self.planned, self.changed = planned, True

    def note_failures(self) -> None:
        failed = list_failed(self.workflow) if self.events else {}
        self.changed |= failed != self.failed
        self.failed = failed

    def report(self) -> None:
        self.reported, self.changed = time.time(), False
        self.status = status = read_status(self.root, self.scenes, open_store(self.root, self.scenes, self.workflow))
        if self.events and not self.ended.is_set():
            self.events.tell_scenes(status, self.failed)
        if sys.stderr.isatty() and not is_replaced(self.logger):
            show(Console(stderr=True), status, MOST)
        else:
            self.logger.info("\n".join(list_lines(status)))


def list_planned(dag: Any) -> set[str]:
    """One output of each job that is still to run. Raises RuntimeError if the plan changes meanwhile."""
    files = [job.output[0] for job in dag.needrun_jobs() if job.output]
    return {str(file.storage_object.query if file.is_storage else file) for file in files}


def is_replaced(logger: logging.Logger) -> bool:
    """Whether a logger plugin writes to the terminal in Snakemake's place."""
    return any(isinstance(handler, logging.handlers.QueueHandler) for handler in logger.handlers)


def list_lines(status: Status) -> list[str]:
    """For a log: the totals, and the scenes at work."""
    running = [describe_scene(state) for state in status.scenes if state.name == "running"][:MOST]
    return [f"progress: {line}" for line in [describe_totals(status), *running]]
