"""What a scene goes through, step by step, and the files that tell how far it is."""

import re
from collections.abc import Collection, Iterable
from typing import Any, NamedTuple

from videomesh.report.results import STAGES as OUTPUTS

STAGES = ("ingest", "frames", "poses", "region", "gate", "train", "mesh", "report", "deliver")
# Stage -> each file that it ends with, and the log of the rule that makes it. {iteration} is the milestone.
FILES = {
    **{stage: (OUTPUTS[stage],) for stage in ("ingest", "frames", "poses", "region", "train")},
    "gate": (OUTPUTS["gate"], ("gate/gate.pass", "gate/gate_decision.log")),
    "mesh": (OUTPUTS["mesh"], OUTPUTS["web_mesh"]),
    "report": (("report/scene.html", "report/report.log"),),
    "deliver": (("deliver/mesh.ply", "deliver/deliver.log"),),
}
WITH_MILESTONES = ("train", "mesh")


class Step(NamedTuple):
    stage: str
    milestone: int = 0  # of train and mesh

    def __str__(self) -> str:
        return f"{self.stage} {self.milestone}" if self.milestone else self.stage


class File(NamedTuple):
    """A file by its name in the folder of its scene, such as frames/frames.json; deliver/mesh.ply is the delivered one.

    `source` is what ingest made.
    """

    scene: str
    name: str


def get_milestones(settings: dict[str, Any]) -> list[int]:
    """All iterations at which a scene is to have a mesh, ascending."""
    train = settings["train"]
    return [*train["milestones"], train["iterations"]]


def list_steps(milestones: Iterable[int]) -> list[Step]:
    """In the order in which a scene goes through them."""
    first = STAGES.index(WITH_MILESTONES[0])
    later = [Step(stage, milestone) for milestone in milestones for stage in WITH_MILESTONES]
    before, after = STAGES[:first], STAGES[first + len(WITH_MILESTONES) :]
    return [*map(Step, before), *later, *map(Step, after)]


def find_file(path: str, scenes: Collection[str]) -> File | None:
    """The scene and the name of a file of the workflow; None if it is of no scene. The path may begin with a bucket."""
    parts = path.split("/")
    for start in reversed(range(len(parts) - 2)):
        top, second, *rest = parts[start:]
        if top == "results" and second in scenes:
            return File(second, "/".join(rest))
        if top == "deliver" and second in scenes:
            return File(second, "/".join(["deliver", *rest]))
        if top == "resources" and second == "videos" and rest[0] in scenes:
            return File(rest[0], "source")
    return None


def find_step(name: str, milestones: list[int]) -> Step | None:
    """The step that makes a file; None for a file of a milestone that the scene has no more."""
    stage, *rest = name.split("/")
    if name == "source":
        return Step("ingest")
    if stage in WITH_MILESTONES:
        if rest[0] == "config":
            return Step(stage, milestones[0])
        milestone = int(rest[0]) if re.fullmatch(r"\d+", rest[0]) else 0
        return Step(stage, milestone) if milestone in milestones else None
    return Step(stage) if stage in STAGES else None


def list_outputs(step: Step) -> list[tuple[str, str]]:
    """Each file that the step ends with, and its log."""
    return [
        (output.format(iteration=step.milestone), log.format(iteration=step.milestone))
        for output, log in FILES[step.stage]
    ]
