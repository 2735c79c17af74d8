"""How far each scene is: each of its steps done, running, failed, stopped by the gate, stale or waiting."""

import json
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from videomesh.checks import describe, select
from videomesh.progress.left import Left, Position, Times, add, find_position, get_kind, read_times
from videomesh.progress.runs import Runs, read_runs
from videomesh.progress.steps import WITH_MILESTONES, File, Step, find_step, get_milestones, list_outputs, list_steps
from videomesh.progress.stores import Store

VERDICT = ("gate/gate.json", "gate/gate_decision.log")  # the newer one tells when the gate decided
STATES = ("running", "failed", "stopped", "waiting", "done")  # of a scene


@dataclass(frozen=True)
class SceneState:
    scene: str
    name: str  # one of STATES
    steps: Mapping[Step, str]  # done, running, failed, stopped, stale or waiting
    reason: str = ""  # of failed and stopped: what the log or the gate says
    since: float | None = None  # when the running step began, in seconds since 1970
    position: Position | None = None  # in the running training
    step_left: Left | None = None  # time that the step takes from now on; None: unknown
    left: Left | None = None  # time for all that is to be done of the scene, once it runs; None: unknown

    @property
    def step(self) -> Step | None:
        """What the scene is at: the first step that runs, failed, or is not done."""
        wanted = [self.name] if self.name in ("running", "failed", "stopped") else ["stale", "waiting"]
        return next((step for step, state in self.steps.items() if state in wanted), None)


@dataclass(frozen=True)
class Status:
    scenes: list[SceneState]
    running: bool  # whether a run is under way
    left: Left | None  # time until it ends; None: unknown

    def count(self) -> dict[str, int]:
        """Scenes by state; states of no scene are left out."""
        numbers = Counter(scene.name for scene in self.scenes)
        return {name: numbers[name] for name in STATES if numbers[name]}


def read_status(root: Path, scenes: Mapping[str, dict[str, Any]], store: Store) -> Status:
    """scenes: the settings of each. Only reads, and takes no lock."""
    runs, listing = read_runs(root, scenes), store.list()
    states = [get_state(scene, settings, listing[scene], runs, store) for scene, settings in scenes.items()]
    if runs.began is None:
        return Status(states, False, None)
    clock = Clock(root, scenes, runs, read_times(root, scenes))
    states = [clock.add_times(state) for state in states]
    return Status(states, True, clock.find_left(states))


# --- one scene --------------------------------------------------------------------------------------------------------


def get_state(scene: str, settings: dict[str, Any], files: dict[str, float], runs: Runs, store: Store) -> SceneState:
    milestones = get_milestones(settings)
    planned = {find_step(file.name, milestones) for file in runs.list_planned(scene)}
    started = {find_step(file.name, milestones) for file in runs.list_started(scene)}
    stopped = read_failures(scene, settings, files, store)
    if Step("gate") in planned and max(files.get(name, 0.0) for name in VERDICT) < (runs.began or 0.0):
        stopped = ""  # this run has not decided yet
    steps, logs = {}, {}
    for step in list_steps(milestones):
        # A log of before belongs to an attempt that this run repeats.
        logs[step] = find_log(step, files, (runs.began or 0.0) if step in planned else 0.0)
        if step in started:
            steps[step] = "running" if runs.began is not None else "failed"
        elif is_made(step, files):
            steps[step] = "stale" if step in planned and not is_made(step, files, runs.began or 0.0) else "done"
        elif step.stage == "gate" and stopped:
            steps[step] = "stopped"
        else:
            steps[step] = "failed" if logs[step] else "waiting"
    name = next((name for name in ("running", "failed", "stopped") if name in steps.values()), None)
    name = name or ("done" if set(steps.values()) == {"done"} else "waiting")
    state = SceneState(scene, name, steps)
    if name == "stopped":
        return replace(state, reason=stopped)
    if name == "failed" and state.step:
        return replace(state, reason=read_reason(store, scene, logs[state.step]))
    return state


def is_made(step: Step, files: dict[str, float], since: float = 0.0) -> bool:
    if step.stage == "ingest" and "frames/frames.json" in files and "source" not in files:
        return True  # the source was cleared away
    return all(files.get(output, -1.0) >= since for output, _ in list_outputs(step))


def find_log(step: Step, files: dict[str, float], since: float) -> str | None:
    """The log of a job of the step that has left no output."""
    logs = [log for output, log in list_outputs(step) if output not in files]
    return next((log for log in logs if files.get(log, -1.0) >= since), None)


def read_failures(scene: str, settings: dict[str, Any], files: dict[str, float], store: Store) -> str:
    """Why the gate stops the scene; empty if it does not."""
    if settings["gate"]["mode"] != "fail" or "gate/gate.json" not in files or "gate/gate.pass" in files:
        return ""
    try:
        checks = json.loads(store.read(scene, "gate/gate.json"))["checks"]
        return " ".join(describe(entry) for entry in select(checks, "fail"))
    except (ValueError, KeyError, TypeError):  # it is not a file of the gate
        return ""


def read_reason(store: Store, scene: str, log: str | None) -> str:
    """The last line of a log. It is empty if a run was cut off early."""
    lines = store.read(scene, log).split("\n") if log else []
    return next((line.strip() for line in reversed(lines) if line.strip()), "it ended without a result")


# --- times ------------------------------------------------------------------------------------------------------------


class Clock:
    """What is left of a run that is under way."""

    def __init__(self, root: Path, scenes: Mapping[str, dict[str, Any]], runs: Runs, times: Times) -> None:
        self.root, self.scenes, self.runs, self.times = root, scenes, runs, times
        self.known: dict[tuple[str, str], float | None] = {}  # what was estimated already

    def add_times(self, state: SceneState) -> SceneState:
        now, step = time.time(), state.step
        milestones = get_milestones(self.scenes[state.scene])
        mine = self.runs.list_planned(state.scene)
        begins = [
            self.runs.started[file]
            for file in self.runs.list_started(state.scene)
            if find_step(file.name, milestones) == step
        ]
        since = min(begins, default=None) if state.name == "running" else None
        training = since is not None and step is not None and step.stage == "train"
        position = find_position(self.root, state.scene, step.milestone, since) if training else None  # type: ignore
        lefts = {file: self.estimate(file, milestones, position, now) for file in mine}
        return replace(
            state,
            since=since,
            position=position,
            step_left=add(left for file, left in lefts.items() if find_step(file.name, milestones) == step),
            left=add(lefts.values()),
        )

    def estimate(self, file: File, milestones: list[int], position: Position | None, now: float) -> float | None:
        """Seconds that a job takes from now on."""
        step, began = find_step(file.name, milestones), self.runs.started.get(file)
        train = step is not None and step.stage == "train" and not file.name.startswith("train/config/")
        if position and began and train:
            return position.left
        whole = self.estimate_alike(file)
        if train and whole is None and step:
            whole = self.estimate_training(file, step.milestone, milestones, position)
        left = None if whole is None else whole - (now - began if began else 0.0)
        return left if left is None or left > 0 else None  # it takes longer than the others did

    def estimate_alike(self, file: File) -> float | None:
        """From the same job in scenes where it does the same amount of work, by its settings."""
        key = get_kind(file.name), self.get_key(file.scene, file.name)
        if key not in self.known:
            self.known[key] = self.times.estimate(file.name, lambda scene: self.get_key(scene, file.name) == key[1])
        return self.known[key]

    def get_key(self, scene: str, name: str) -> str:
        stage, settings = name.split("/")[0], self.scenes[scene]
        if stage not in WITH_MILESTONES:
            return ""
        return json.dumps([settings["engine"], settings.get(settings["engine"]), settings[stage]])

    def estimate_training(
        self, file: File, milestone: int, milestones: list[int], position: Position | None
    ) -> float | None:
        """From the pace of the scene's own training at another milestone."""
        begins = dict(zip(milestones, [0, *milestones], strict=False))
        if position and position.left is not None:
            return (milestone - begins[milestone]) / position.rate
        for other in reversed(milestones):
            name = file.name.replace(f"train/{milestone}/", f"train/{other}/")
            seconds = self.times.estimate(name, lambda scene: scene == file.scene)
            if seconds is not None:
                return seconds / (other - begins[other]) * (milestone - begins[milestone])
        return None

    def find_left(self, states: list[SceneState]) -> Left | None:
        """Time until the run ends: as many jobs side by side as there were until now, on average."""
        assert self.runs.began is not None
        planned = {file.scene for file in self.runs.planned}
        open_scenes = [state for state in states if state.scene in planned and state.name in ("running", "waiting")]
        lefts = [state.left for state in open_scenes if state.left]
        if not lefts:
            return None
        now = time.time()
        running = sum(now - self.runs.started[file] for file in self.runs.planned & set(self.runs.started))
        spent = self.times.count_since(self.runs.began) + running
        side_by_side = max(1.0, spent / max(1.0, now - self.runs.began))
        seconds = [left.seconds for left in lefts]
        whole = len(lefts) == len(open_scenes) and all(left.whole for left in lefts)
        return Left(max([*seconds, sum(seconds) / side_by_side]), whole)
