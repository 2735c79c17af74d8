"""Hierarchical mapping: parts of the frames are mapped side by side and merged.

On 300 frames at 1080p and 8 cores it takes 0.4 to 0.5 of the time of the whole, the last adjustment counted in, and the
poses are as near the true ones. Two cores gain nothing (docs/benchmarks.md).

It runs in a process of its own, since COLMAP 4.2 hears no Ctrl-C or SIGTERM before all parts are done.
"""

import json
import os
import sys
from pathlib import Path
from typing import Mapping, Optional

import pycolmap

from videomesh.children import child
from videomesh.errors import UserError, run

SIZE, OVERLAP = 60, 15  # frames of a part, and those of them that it shares
MIN_FRAMES, MIN_THREADS = 150, 4


def map_parts(
    database: Path, frames: Path, output: Path, options: Mapping[str, float], threads: int, seed: int
) -> Optional[Path]:
    """The largest merged model, in the folder output; its poses are rough. None if there is none: the parts failed, or
    none of them gives a model."""
    output.mkdir()
    given = {"options": options, "threads": threads, "seed": seed, "size": SIZE, "overlap": OVERLAP}
    command = [
        sys.executable,
        "-m",
        "videomesh.poses.parts",
        str(database),
        str(frames),
        str(output),
        json.dumps(given),
    ]
    with child(command, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}) as process:
        code = process.wait()
    if code:
        print(f"COLMAP's mapping in parts ended with code {code}; the whole is mapped at once", flush=True)
    merged = output / "merged"
    return merged if merged.exists() else None


def main() -> None:
    database, frames, output = map(Path, sys.argv[1:4])
    given = json.loads(sys.argv[4])
    pycolmap.set_random_seed(given["seed"])
    pycolmap.logging.minloglevel = pycolmap.logging.FATAL.value
    hierarchical = pycolmap.HierarchicalPipelineOptions()
    hierarchical.incremental_options = get_pipeline(given["options"], given["threads"], given["seed"])
    hierarchical.incremental_options.extract_colors = False
    hierarchical.num_threads = hierarchical.num_workers = given["threads"]
    hierarchical.clustering_options.leaf_max_num_images = given["size"]
    hierarchical.clustering_options.image_overlap = given["overlap"]
    try:
        found = pycolmap.hierarchical_mapping(database, frames, output, options=hierarchical)
    except IndexError:  # 4.2.1 raises it where no part gives a model, as of a camera that stands still
        return
    except (RuntimeError, ValueError, MemoryError) as error:
        raise UserError(f"COLMAP's mapping in parts failed: {error}")
    if found:
        part = output / "merged.part"
        part.mkdir()
        max(found.values(), key=lambda model: model.num_reg_images()).write(part)
        part.rename(output / "merged")


def get_pipeline(options: Mapping[str, float], threads: int, seed: int) -> pycolmap.IncrementalPipelineOptions:
    """options: as COLMAP's command line names them, without what is before the dot."""
    pipeline = pycolmap.IncrementalPipelineOptions()
    pipeline.random_seed = seed
    pipeline.num_threads = threads
    for name, value in options.items():
        setattr(pipeline if hasattr(pipeline, name) else pipeline.mapper, name, value)
    return pipeline


if __name__ == "__main__":
    run(main)
