"""How often the executor asks the platform, and how long it waits for it."""

import random
from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """All in seconds. queued and pending: how long a job may stay in this state."""

    queued: float
    pending: float
    min_interval: float
    max_interval: float


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
