"""Extraction of a trained Neuralangelo model: upstream's dense lattice against our sparse one. Prints Markdown.

Needs upstream's image or its packages, and a GPU. Each measurement is a process of its own, so that peaks of memory are
its own too. Upstream's time is that of its extract_mesh with blocks of 128 and no colours; where a resolution is not in
--compare, only the slab of blocks in the middle is measured, and the whole extrapolated by the number of blocks.
"""

import argparse
import json
import math
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.spatial import cKDTree

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "src"))

from neuralangelo_engine import dense, field
from neuralangelo_engine.scratch import Scratch, copy, unpack
from videomesh.devices import choose_device
from videomesh.meshing.crop import EDGE
from videomesh.meshing.extract import extract_preview, extract_surface, region_bounds
from videomesh.meshing.sparse_mesh import Mesh
from videomesh.scene import read_scene

BLOCK = 128
WITHIN = 0.97  # vertices that are compared; farther out both are cut, each in its own way
SAME = 0.01  # voxels


def main() -> None:
    args = parse_arguments()
    if args.measure:
        measure(args, args.measure[0], int(args.measure[1]), Path(args.measure[2]))
        return
    times, differences = [], []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for resolution in args.resolutions:
            compared = resolution in args.compare
            theirs = run(args, "dense" if compared else "slab", resolution, folder / "dense")
            ours = run(args, "sparse", resolution, folder / "sparse")
            times.append(get_times(resolution, theirs, ours))
            if compared:
                differences.append(get_differences(resolution, folder))
    print(as_table(times))
    print(as_table(differences))


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", type=Path, required=True, help=".tar.gz of upstream's source")
    parser.add_argument("--config", type=Path, required=True, help="YAML file that the training used")
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("--transforms", type=Path, required=True)
    parser.add_argument("--resolutions", type=int, nargs="+", default=[512, 1024, 2048])
    parser.add_argument("--compare", type=int, nargs="*", default=[512, 1024], help="those of which upstream makes all")
    parser.add_argument("--measure", nargs=3, metavar=("WHAT", "RESOLUTION", "OUT"), help=argparse.SUPPRESS)
    return parser.parse_args()


def run(args: argparse.Namespace, what: str, resolution: int, out: Path) -> dict[str, Any]:
    """One measurement in a process of its own: its figures, and the vertices in out.npy."""
    command = [sys.executable, __file__, "--measure", what, str(resolution), str(out)]
    for name in ("source", "config", "checkpoint", "transforms"):
        command += [f"--{name}", str(getattr(args, name))]
    subprocess.run(command, check=True, stdout=sys.stderr)
    return dict(json.loads(out.with_suffix(".json").read_text()))


# ------------------------------------------------------------------------------------------------- one measurement


def measure(args: argparse.Namespace, what: str, resolution: int, out: Path) -> None:
    device = choose_device("auto")
    scene = read_scene(args.transforms)
    with tempfile.TemporaryDirectory() as name:
        scratch = Scratch(Path(name), Path(name) / "programs", Path(name) / "config.yaml")
        unpack(args.source, scratch.programs)
        copy(args.config, scratch.config)
        trained = field.load(scratch, args.config, args.checkpoint, scene)
        bounds = region_bounds(args, trained, scene)
        extract_preview(trained, device)  # loads kernels
        reset_peak()
        if what == "sparse":
            found, figures = measure_sparse(trained, bounds, resolution, device)
        else:
            found, figures = measure_dense(trained, bounds, resolution, device, what == "slab")
    figures["gpu"] = torch.cuda.max_memory_allocated() / 2**30 if device.type == "cuda" else 0.0
    figures["host"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    np.save(out.with_suffix(".npy"), found.vertices.cpu().numpy())
    out.with_suffix(".json").write_text(json.dumps({**figures, "vertices": len(found.vertices)}))


def measure_sparse(
    trained: field.Field, bounds: list[tuple[float, float]], resolution: int, device: torch.device
) -> tuple[Mesh, dict[str, Any]]:
    started = now()
    mesh, _ = extract_surface(trained, bounds, resolution, EDGE, device)
    extracted = now()
    trained.colour(mesh.vertices.float(), mesh.vertices)
    return mesh, {"geometry": extracted - started, "colours": now() - extracted}


def measure_dense(
    trained: field.Field, bounds: list[tuple[float, float]], resolution: int, device: torch.device, slab: bool
) -> tuple[Mesh, dict[str, Any]]:
    voxel = 2 / resolution
    box = dense.get_box(bounds, voxel)
    blocks = [math.ceil((high - low) / voxel / BLOCK) for low, high in box]
    share = 1.0
    if slab:
        low = box[0][0] + blocks[0] // 2 * BLOCK * voxel
        box[0], share = [low, low + (BLOCK - 0.5) * voxel], 1 / blocks[0]
    tools = sys.modules["projects.neuralangelo.utils.mesh"]
    started = now()
    with trained.precision():
        found = tools.extract_mesh(
            lambda points: -trained.model.neural_sdf.sdf(points), np.array(box), voxel, block_res=BLOCK
        )
    seconds = now() - started
    mesh = Mesh(torch.tensor(np.asarray(found.vertices)).to(device), torch.tensor(np.asarray(found.faces)).to(device))
    mesh, _ = dense.weld(mesh, torch.zeros(len(mesh.vertices), 0, device=device), dense.TOLERANCE * voxel)
    return mesh, {"geometry": seconds / share, "extrapolated": slab}


def now() -> float:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


def reset_peak() -> None:
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()


# ---------------------------------------------------------------------------------------------------------- tables


def get_times(resolution: int, theirs: dict[str, Any], ours: dict[str, Any]) -> dict[str, str]:
    return {
        "resolution": str(resolution),
        "upstream: geometry": f"{theirs['geometry']:.1f} s" + (" (extrapolated)" if theirs["extrapolated"] else ""),
        "ours: geometry": f"{ours['geometry']:.2f} s",
        "colours": f"{ours['colours']:.2f} s",
        "faster": f"{theirs['geometry'] / ours['geometry']:.0f} x",
        "GPU memory, upstream / ours": f"{theirs['gpu']:.1f} / {ours['gpu']:.1f} GiB",
        "host memory": f"{theirs['host']:.1f} / {ours['host']:.1f} GiB",
        "vertices": f"{ours['vertices']:,}",
    }


def get_differences(resolution: int, folder: Path) -> dict[str, str]:
    """Every vertex's distance to the nearest one of the other mesh, in voxels."""
    theirs, ours = (np.load(folder / f"{name}.npy") for name in ("dense", "sparse"))
    row = {"resolution": str(resolution), "vertices, upstream / ours": f"{len(theirs):,} / {len(ours):,}"}
    for name, one, other in (("upstream to ours", theirs, ours), ("ours to upstream", ours, theirs)):
        inner = one[np.linalg.norm(one, axis=1) < WITHIN]
        voxels: Any = cKDTree(other).query(inner, workers=os.cpu_count() or 1)[0] * resolution / 2
        row[f"{name}: max"] = f"{voxels.max():.1e} voxels"
        row[f"above {SAME} voxel, {name}"] = f"{(voxels > SAME).mean():.4%}"
    return row


def as_table(rows: list[dict[str, str]]) -> str:
    if not rows:
        return ""
    lines = [list(rows[0]), ["---"] * len(rows[0]), *(list(row.values()) for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


if __name__ == "__main__":
    main()
