"""Whose turn it is while the quota has room for some jobs only.

The platform keeps no queue: over the quota, it refuses a submission. So the head keeps the order, by Snakemake's
priorities, and among equals by age.
"""

import itertools
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from .task import Task


def sort_by_priority(tasks: Iterable[Task]) -> list[Task]:
    return sorted(tasks, key=lambda task: -task.priority)


def split_by_priority(tasks: Iterable[Task]) -> Iterator[Sequence[Task]]:
    """tasks: in the order of their priorities. Those of one priority may be submitted at the same time."""
    for _, equals in itertools.groupby(tasks, key=lambda task: task.priority):
        yield list(equals)


def get_need(task: Task) -> tuple[bool, int]:
    """Of which quota it takes a part, that of GPUs (True) or of CPUs (False), and how many units."""
    resources = task.spec.resources
    return resources.gpu > 0, resources.gpu or resources.cpu


def wake(waiting: Iterable[Task], ended: Iterable[Task]) -> None:
    """Let as many tasks try again as the jobs that have ended left room for. A try that is refused is not for free.

    ended: tasks, of which some may have had no job.
    """
    free: Counter[bool] = Counter()
    for task in ended:
        if task.job_id:
            kind, units = get_need(task)
            free[kind] += units
    for task in sort_by_priority(waiting):
        kind, units = get_need(task)
        if free[kind] > 0:
            free[kind] -= units
            task.not_before = 0.0
