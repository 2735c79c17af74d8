"""The state of all scenes: as a table on a terminal, as plain lines elsewhere."""

import time

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from videomesh.progress.left import Left
from videomesh.progress.state import SceneState, Status
from videomesh.progress.steps import STAGES

MARKS = {"done": "✓", "running": "▶", "failed": "✗", "stopped": "■", "stale": "↻", "waiting": "·"}
ASCII = {"done": "+", "running": ">", "failed": "x", "stopped": "#", "stale": "~", "waiting": "."}
STYLES = {"done": "green", "running": "bold cyan", "failed": "bold red", "stopped": "bold yellow", "stale": "magenta",
          "waiting": "dim"}  # fmt: skip
WORDS = {"stopped": "stopped by the gate", "stale": "will be made again"}
NARROW = 76  # columns of a terminal, below which the table has no room
ORDER = ("running", "failed", "stopped", "waiting", "done")  # if there is no room for all


def show(console: Console, status: Status, most: int | None = None) -> None:
    """most: scenes to show; those that need attention come first then. None: all."""
    shown = choose(status.scenes, most)
    if console.is_terminal and console.width >= NARROW:
        console.print(make_table(console, shown))
        notes = [state for state in shown if state.name in ("running", "failed", "stopped")]
    else:
        notes = shown
    for state in notes:
        line = Text(describe_scene(state), style=STYLES[state.name] if state.name in ("failed", "stopped") else "")
        console.print(line, soft_wrap=not console.is_terminal)  # a log gets the whole line, however wide
    hidden = len(status.scenes) - len(shown)
    if hidden:
        console.print(f"and {hidden} more", soft_wrap=True)
    console.print(Text(describe_totals(status), style="bold"), soft_wrap=True)


def choose(states: list[SceneState], most: int | None) -> list[SceneState]:
    if most is None or len(states) <= most:
        return states
    return sorted(states, key=lambda state: ORDER.index(state.name))[:most]


def make_table(console: Console, states: list[SceneState]) -> Table:
    marks = MARKS if console.encoding.lower().startswith("utf") else ASCII
    found = {name for state in states for name in state.steps.values()}
    table = Table(
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        pad_edge=False,
        show_edge=False,
        caption=Text("  ".join(f"{mark} {WORDS.get(name, name)}" for name, mark in marks.items() if name in found)),
        caption_justify="left",
        caption_style="dim",
    )
    table.add_column("scene", overflow="fold")
    for stage in STAGES:
        table.add_column(stage, justify="center", no_wrap=True)
    for state in states:
        table.add_row(Text(state.scene), *(make_cell(state, stage, marks) for stage in STAGES))
    return table


def make_cell(state: SceneState, stage: str, marks: dict[str, str]) -> Text:
    """The mark of a stage; with several milestones, how many of them are done too."""
    found = [name for step, name in state.steps.items() if step.stage == stage]
    name = next(name for name in ("running", "failed", "stopped", "stale", "waiting", "done") if name in found)
    number = f" {found.count('done')}/{len(found)}" if len(found) > 1 else ""
    return Text(marks[name] + number, style=STYLES[name])


# --- words ------------------------------------------------------------------------------------------------------------


def describe_scene(state: SceneState) -> str:
    """One line."""
    said = f"{state.scene}: {WORDS.get(state.name, state.name)}"
    if state.name == "running":
        said += f", {describe_step(state)}"
        if state.left and state.left != state.step_left:
            said += f"; {describe_left(state.left)} for the scene"
    elif state.name in ("failed", "stopped"):
        said += (f" in {state.step}" if state.name == "failed" else "") + f": {clean(state.reason)}"
    elif state.name == "waiting":
        said += f", next is {state.step}" + (" again" if state.step and state.steps[state.step] == "stale" else "")
    return said


def describe_step(state: SceneState) -> str:
    said = f"{state.step}"
    if state.since is not None:
        said += f" for {describe_time(time.time() - state.since)}"
    if state.position:
        said += f", iteration {state.position.iteration:,} of {state.position.stop:,}"
        if state.position.silent:
            said += f", silent for {describe_time(state.position.age)}"
    return f"{said}, {describe_left(state.step_left)}"


def describe_totals(status: Status) -> str:
    number = len(status.scenes)
    counts = ", ".join(f"{count} {WORDS.get(name, name)}" for name, count in status.count().items())
    said = f"{number} {'scene' if number == 1 else 'scenes'}: {counts or 'none'}"
    if not status.running:
        return said if set(status.count()) <= {"done"} else f"{said}; no run is under way"
    return f"{said}; {describe_left(status.left)}"


def describe_left(left: Left | None) -> str:
    if left is None:
        return "time left unknown"
    return f"{'about' if left.whole else 'at least'} {describe_time(left.seconds)} left"


def describe_time(seconds: float) -> str:
    """45 s, 12 min, 3 h 20 min, 2 d 4 h"""
    if seconds < 60:
        return f"{max(0, round(seconds))} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes} min"
    return f"{hours // 24} d {hours % 24} h"


def clean(text: str) -> str:
    """Without characters that would steer the terminal."""
    return "".join(character if character.isprintable() else " " for character in text)
