"""region.png: cameras, points and sphere from three sides."""

from pathlib import Path
from typing import Any

import matplotlib
import matplotlib.pyplot as plt
import numpy as np

from videomesh.region.views import Cloud, Views

matplotlib.use("Agg")  # no display on a head node


INSIDE, OUTSIDE, CAMERA = "#d9541a", "#9aa5b1", "#1f5fa8"


def draw(path: Path, views: Views, cloud: Cloud, summary: dict[str, Any]) -> None:
    """Cameras, points and sphere from three sides, upright; coordinates are relative to the sphere's centre."""
    center = np.array(summary["center"])
    views, xyz = views._replace(center=views.center - center), cloud.xyz - center
    up = np.array(summary["up"])
    right, ahead = _horizontal_axes(views, up)
    sides = (
        ("front: seen from the first frame's side", right, up),
        ("right side", ahead, up),
        ("from above, first frame at the bottom", right, ahead),
    )
    figure, panels = plt.subplots(1, 3, figsize=(16.5, 6.2), layout="constrained")
    for panel, (title, across, upward) in zip(panels, sides, strict=True):
        _draw_side(panel, views, xyz, summary["radius"], np.stack([across, upward]))
        panel.set_title(title, fontsize=11)
    figure.suptitle(_title(summary) + "\n", fontsize=14)
    handles, labels = panels[0].get_legend_handles_labels()
    legend = figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), fontsize=11, frameon=False)
    for handle in legend.get_lines():
        handle.set_markersize(10)  # the points themselves are too small to show a colour
    figure.savefig(path, format="png", dpi=100, metadata={"Software": None})
    plt.close(figure)


def _title(summary: dict[str, Any]) -> str:
    points = summary["points"]
    return (
        f"{summary['scene_type']['used']} ({summary['scene_type']['given']}), {summary['method']} region: "
        f"radius {summary['radius']:.3g}, {summary['cameras']} cameras, "
        f"{points['inside']} of {points['total']} points inside"
    )


def _horizontal_axes(views: Views, up: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Right and ahead as someone at the first camera sees the sphere, at right angles to up."""
    for ahead in (-views.center[0], views.forward[0], np.eye(3)[np.abs(up).argmin()]):
        level = ahead - (ahead @ up) * up
        if np.linalg.norm(level) > 0.01 * np.linalg.norm(ahead):  # else it points straight up or down
            break
    level = level / np.linalg.norm(level)
    return np.cross(level, up), level


def _draw_side(panel: plt.Axes, views: Views, xyz: np.ndarray, radius: float, axes: np.ndarray) -> None:
    """One projection onto the two rows of axes, the sphere's centre at 0."""
    points, cameras = xyz @ axes.T, views.center @ axes.T
    inside = np.linalg.norm(xyz, axis=1) < radius
    shown = np.random.default_rng(0).permutation(len(points))[:20_000]  # more only make it slow and solid
    for mask, color, label in ((~inside, OUTSIDE, "points outside"), (inside, INSIDE, "points inside")):
        panel.plot(*points[shown[mask[shown]]].T, ".", color=color, markersize=2.5, markeredgewidth=0, label=label)
    panel.add_patch(plt.Circle((0, 0), radius, fill=False, color="black", linewidth=1.6, label="sphere"))
    panel.plot(0, 0, "+", color="black", markersize=8)
    middle, half = _frame(points, cameras, radius)
    tips = 0.12 * half * (views.forward @ axes.T)
    panel.quiver(*cameras.T, *tips.T, angles="xy", scale_units="xy", scale=1, width=0.004, color=CAMERA)
    panel.plot(*cameras.T, ".", color=CAMERA, label="cameras, arrow: viewing direction")
    panel.plot(*cameras[0], "o", color=CAMERA, markersize=9, fillstyle="none", label="first frame")
    panel.set_xlim(middle[0] - half, middle[0] + half)
    panel.set_ylim(middle[1] - half, middle[1] + half)
    panel.set_aspect("equal")
    panel.grid(alpha=0.25)


def _frame(points: np.ndarray, cameras: np.ndarray, radius: float) -> tuple[np.ndarray, float]:
    """Middle and half width of a panel: sphere and cameras whole, and of the points the middle 90 %, but no more than
    one width beyond them, because points far away would make the rest tiny."""
    core = np.concatenate([cameras, np.full((1, 2), radius), np.full((1, 2), -radius)])
    low, high = core.min(0), core.max(0)
    if len(points):
        width = (high - low).max()
        low = np.minimum(low, np.maximum(np.percentile(points, 5, axis=0), low - width))
        high = np.maximum(high, np.minimum(np.percentile(points, 95, axis=0), high + width))
    return (low + high) / 2, 0.54 * float((high - low).max())
