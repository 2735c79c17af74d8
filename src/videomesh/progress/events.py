"""What a run tells whoever is not at the terminal: scenes that failed, that the gate stopped, and how the run ended."""

from collections.abc import Mapping
from typing import Any

from videomesh.notify import Notifier
from videomesh.progress.show import WORDS, clean
from videomesh.progress.state import SceneState, Status

EVENTS = {"failed": "scene_failed", "stopped": "gate_failed"}  # state of a scene -> event
NAMED = 5  # scenes in a sentence
LONGEST = 500  # characters of a reason


class Events:
    """Of one run. Each scene is told once, those that are known together in one message."""

    def __init__(self, notifier: Notifier) -> None:
        self.notifier = notifier
        self.told: set[str] = set()

    def tell_scenes(self, status: Status | None, failed: Mapping[str, str], ended: bool = False) -> None:
        """failed: scenes in which a job failed for good -> its rule. status: None if it cannot be told.

        A scene that goes on with other jobs is told once they have ended. Then its reason is known.
        """
        states = {state.scene: state for state in status.scenes} if status else {}
        found: dict[str, list[dict[str, str]]] = {}
        for scene in sorted(failed.keys() - self.told):
            state = states.get(scene)
            if state and state.name in EVENTS:
                found.setdefault(EVENTS[state.name], []).append(describe(state))
            elif ended:
                entry = {"scene": scene, "stage": failed[scene], "reason": "the log of the run tells why"}
                found.setdefault("scene_failed", []).append(entry)
        for event, scenes in found.items():
            self.told |= {entry["scene"] for entry in scenes}
            self.notifier.tell(event, say(event, scenes), scenes=scenes)

    def end(self, status: Status | None, failed: Mapping[str, str], success: bool) -> None:
        self.tell_scenes(status, failed, ended=True)
        counts = status.count() if status else {}
        words = ", ".join(f"{number} {WORDS.get(name, name)}" for name, number in counts.items())
        text = "The run has ended." if success else "The run has ended before everything was done."
        self.notifier.tell(
            "run_end", f"{text} Scenes: {words}." if words else text, success=success, scene_counts=counts
        )
        self.notifier.close()


def describe(state: SceneState) -> dict[str, str]:
    return {"scene": state.scene, "stage": str(state.step), "reason": clean(state.reason)[:LONGEST]}


def say(event: str, scenes: list[dict[str, str]]) -> str:
    what = "The gate stopped" if event == "gate_failed" else "Failed:"
    named = "; ".join(f"{entry['scene']} in {entry['stage']}: {entry['reason']}" for entry in scenes[:NAMED])
    more = f"; and {len(scenes) - NAMED} more" if len(scenes) > NAMED else ""
    return f"{what} {named}{more}"


def list_failed(workflow: Any) -> dict[str, str]:
    """Scenes in which a job failed and is not tried again -> its rule. Raises RuntimeError if one fails meanwhile."""
    jobs = [member for job in workflow.scheduler.failed for member in getattr(job, "jobs", [job])]
    return {job.wildcards.scene: job.rule.name for job in jobs if hasattr(job.wildcards, "scene")}
