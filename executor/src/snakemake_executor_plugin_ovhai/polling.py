"""How often the executor asks the platform, and how long it waits for it."""

import random
from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """All in seconds. queued, pending, initializing: how long a job may stay in this state.

    other: how long it may stay in another state that is not RUNNING, beside its own time limit.
    """

    queued: float
    pending: float
    min_interval: float
    max_interval: float
    initializing: float = 7200.0
    other: float = 3600.0

    def get(self, state: str, runtime: float) -> float | None:
        """The limit of a state. None for RUNNING, which the platform itself ends. runtime: the job's own time limit.

        A state that nobody knows may be one in which the job computes, so that it gets the job's time limit too.
        """
        if state == "RUNNING":
            return None
        own = {"QUEUED": self.queued, "PENDING": self.pending, "INITIALIZING": self.initializing}
        return own.get(state, runtime + self.other)


class PollInterval:
    """Seconds between two checks: short while something changes, and longer each time while nothing does."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.seconds = limits.min_interval

    def adapt(self, changed: bool) -> None:
        self.seconds = self.limits.min_interval if changed else min(self.seconds * 1.5, self.limits.max_interval)

    def get_pause(self) -> float:
        """Each pause differs a little, so that many heads do not ask at the same moment."""
        return self.seconds * random.uniform(0.9, 1.1)
