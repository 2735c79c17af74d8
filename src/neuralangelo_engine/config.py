"""Write the settings that Neuralangelo trains and extracts a scene with, as its generator would and better.

JSON, which YAML is too: no program but upstream's needs to read YAML. Every name is checked against upstream's own two
files, since upstream accepts any (NA-16).
"""

import argparse
import json
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from neuralangelo_engine import keys
from neuralangelo_engine.schedule import get_settings
from videomesh.errors import UserError
from videomesh.files import outputs, read_json, write_json

PARENT = "projects/neuralangelo/configs/base.yaml"
BASE = "imaginaire/config_base.yaml"
DATA = "../data"  # beside the unpacked programs, from where upstream runs
EXPOSURE_RANGE = 0.15  # of full scale; above it each image gets a colour correction of its own (NA-05)
EMBEDDING = 8  # numbers an image; upstream's own choice
VALIDATION_SIDE = 200  # px; larger renderings can run out of memory late in the training (NA-18)
VALIDATION_IMAGES = 4
PRELOAD_GB = 20  # half of what OVHcloud's smallest machine with a GPU has
# GPU memory in GB from which on -> hashgrid dict_size and dim (NA-18).
TABLES = {23.0: (22, 8), 15.0: (21, 8), 11.0: (21, 4), 0.0: (20, 4)}
# 28.8 instead of 366.7 million parameters, since half of each step is work on the whole table; the time goes into twice
# as many rays. Measured in docs/neuralangelo.md.
FAST_TABLE, FAST_RAYS = (19, 4), 1024
# GB of GPU memory of OVHcloud's flavors, as its documentation prints them; others count as large enough.
FLAVORS = {
    "ai1-1-gpu": 32,
    "ai1-le-1-gpu": 32,
    "l4-1-gpu": 24,
    "a10-1-gpu": 24,
    "l40s-1-gpu": 48,
    "a100-1-gpu": 80,
    "h100-1-gpu": 80,
}


def main(args: argparse.Namespace) -> None:
    transforms = read_transforms(args.transforms)
    settings = {
        **get_data_settings(transforms, args),
        **get_scene_settings(read_scene_type(args.region)),
        **get_appearance_settings(args, len(transforms["frames"])),
        **get_schedule_settings(args),
        **get_table_settings(args),
    }
    overrides = read_overrides(args.overrides)
    config = {"_parent_": PARENT, **nest(settings | overrides)}
    check(config, args)
    with outputs(args.output) as (part,):
        write_json(part, config)
    print(report(settings | overrides, args))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--source", type=Path, required=True, help="neuralangelo-94390b6.tar.gz, whose names are the known ones")
    add("--transforms", type=Path, required=True, help="transforms.json of the region stage")
    add("--region", type=Path, required=True, help="region.json of the region stage, which knows the scene type")
    add("--gate", type=Path, required=True, help="gate.json, which knows how much the exposure changes")
    add("--iterations", type=int, required=True, help="length of the whole schedule")
    add("--schedule", choices=("scaled", "upstream"), default="scaled", help="scaled (default) or upstream's numbers")
    add("--preset", choices=("full", "fast"), default="full", help="size of the hash table")
    add("--appearance", choices=("auto", "always", "never"), default="auto", help="a colour correction for each image")
    add("--flavor", default="", help="OVHcloud flavor of the training, if any")
    add("--gpu-memory", type=float, help="GB of GPU memory (default: the flavor's, else enough for the whole table)")
    add("--gpus", type=int, default=1, help="GPUs that train one scene (default: 1)")
    add("--overrides", default="{}", help='JSON {"dotted.name": value} over all of this')
    add("--output", type=Path, required=True, help="config.yaml to write")


# Settings --------------------------------------------------------------------------------------------------------


def read_transforms(path: Path) -> dict[str, Any]:
    content = read_json(path)
    needed = ("w", "h", "frames", "sphere_center", "sphere_radius")
    missing = [key for key in needed if not isinstance(content, dict) or key not in content]
    if missing:
        raise UserError(f"{path}: {', '.join(missing)} missing; run the region stage again")
    return dict(content)


def read_scene_type(path: Path) -> str:
    try:
        return str(read_json(path)["scene_type"]["used"])
    except (KeyError, TypeError):
        raise UserError(f"{path}: has no scene_type; run the region stage again")


def get_data_settings(transforms: Mapping[str, Any], args: argparse.Namespace) -> dict[str, Any]:
    width, height, count = int(transforms["w"]), int(transforms["h"]), len(transforms["frames"])
    shrink = min(1.0, VALIDATION_SIDE / max(width, height))
    return {
        "data.type": "projects.neuralangelo.data",
        "data.root": DATA,
        "data.num_images": count,
        "data.train.image_size": [height, width],
        "data.val.image_size": [max(1, round(height * shrink)), max(1, round(width * shrink))],
        "data.val.batch_size": 1,
        "data.val.subset": min(VALIDATION_IMAGES, count),
        # Upstream would keep them all in memory, at their full size (NA-02).
        "data.preload": 1.2 * count * width * height * 3 < PRELOAD_GB * 1e9,
        "data.readjust.center": [0.0, 0.0, 0.0],
        "data.readjust.scale": 1.0,
    }


def get_scene_settings(scene_type: str) -> dict[str, Any]:
    """As upstream's generator: a room is seen from inside, and has no background."""
    settings: dict[str, Any] = {
        "model.object.sdf.mlp.inside_out": scene_type == "indoor",
        "model.object.sdf.encoding.coarse2fine.init_active_level": 4 if scene_type == "object" else 8,
    }
    if scene_type == "indoor":
        settings |= {"model.background.enabled": False, "model.render.num_samples.background": 0}
    return settings


def get_appearance_settings(args: argparse.Namespace, count: int) -> dict[str, Any]:
    wanted = args.appearance == "always" or (args.appearance == "auto" and read_exposure(args.gate) > EXPOSURE_RANGE)
    return {"model.appear_embed.enabled": wanted, **({"model.appear_embed.dim": EMBEDDING} if wanted else {})}


def read_exposure(path: Path) -> float:
    """Range of the frames' mean brightness, 5th to 95th percentile, as a share of full scale."""
    try:
        return float(next(check["value"] for check in read_json(path)["checks"] if check["name"] == "exposure_range"))
    except (KeyError, TypeError, ValueError, StopIteration):
        raise UserError(f"{path}: has no check exposure_range; run the gate again")


def get_schedule_settings(args: argparse.Namespace) -> dict[str, Any]:
    return get_settings(args.iterations, args.schedule)


def get_table_settings(args: argparse.Namespace) -> dict[str, Any]:
    memory = args.gpu_memory or FLAVORS.get(args.flavor, max(TABLES))
    fitting = next(table for least, table in TABLES.items() if memory >= least)
    size, dim = FAST_TABLE if args.preset == "fast" else fitting
    prefix = "model.object.sdf.encoding.hashgrid"
    settings = {f"{prefix}.dict_size": size, f"{prefix}.dim": dim}
    return settings | ({"model.render.rand_rays": FAST_RAYS} if args.preset == "fast" else {})


def read_overrides(text: str) -> dict[str, Any]:
    overrides = json.loads(text)
    errors = keys.check_overrides(overrides)
    if errors:
        raise UserError("neuralangelo.overrides: " + "; ".join(errors))
    return dict(overrides)


def nest(settings: Mapping[str, Any]) -> dict[str, Any]:
    """{"data.root": "x"} becomes {"data": {"root": "x"}}."""
    nested: dict[str, Any] = {}
    for key, value in settings.items():
        *sections, name = key.split(".")
        level = nested
        for section in sections:
            level = level.setdefault(section, {})
        level[name] = value
    return nested


# Checks ----------------------------------------------------------------------------------------------------------


def check(config: Mapping[str, Any], args: argparse.Namespace) -> None:
    """UserError if upstream would not know a name, the schedule does not fit, or there are too few images."""
    known = read_known(args.source)
    optimiser = known.setdefault("optim", {}).setdefault("params", {})
    optimiser |= dict.fromkeys(("betas", "eps", "amsgrad", "fused"))  # torch's own, handed through
    values = {name: value for name, value in config.items() if name != "_parent_"}
    unknown = keys.find_unknown(values, known)
    if unknown:
        raise UserError(f"{args.source}: this version of Neuralangelo has no setting {', '.join(unknown)}")
    merged = merge(known, values)
    schedule, coarse = merged["optim"]["sched"], merged["model"]["object"]["sdf"]["encoding"]["coarse2fine"]
    if args.schedule == "scaled":
        levels_at = schedule["warm_up_end"] + coarse["step"] * merged["model"]["object"]["sdf"]["encoding"]["levels"]
        if levels_at > 0.8 * args.iterations:
            raise UserError(
                f"with {args.iterations} iterations all levels of detail would be in use only at iteration {levels_at} "
                "(NA-17); raise train.iterations, or lower optim.sched.warm_up_end or "
                "model.object.sdf.encoding.coarse2fine.step in neuralangelo.overrides"
            )
    batch, frames = merged["data"]["train"]["batch_size"] * args.gpus, merged["data"]["num_images"]
    if frames < batch:
        raise UserError(
            f"{args.transforms}: {frames} images are fewer than a batch of {batch} (NA-14), so that training would do "
            "nothing; lower data.train.batch_size in neuralangelo.overrides, or use fewer GPUs"
        )


def read_known(source: Path) -> dict[str, Any]:
    """Upstream's settings with its defaults, nested."""
    known: dict[str, Any] = {}
    try:
        with tarfile.open(source) as tar:
            for name in (BASE, PARENT):
                file = tar.extractfile(name)
                known = merge(known, yaml.safe_load(file.read()) if file else {})
    except FileNotFoundError:
        raise UserError(f"{source}: no such file")
    except (tarfile.TarError, KeyError, EOFError, yaml.YAMLError) as error:
        raise UserError(f"{source}: not Neuralangelo's programs ({error}); remove it and run again")
    return known


def merge(base: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for name, value in values.items():
        inner = merged.get(name)
        both = isinstance(value, Mapping) and isinstance(inner, Mapping)
        merged[name] = merge(inner, value) if both else value  # type: ignore[arg-type]
    return merged


def report(settings: Mapping[str, Any], args: argparse.Namespace) -> str:
    grid = "model.object.sdf.encoding.hashgrid"
    lines = [
        f"neuralangelo: {args.iterations} iterations, {args.schedule} schedule, {settings['data.num_images']} images, "
        f"hash table 2^{settings[f'{grid}.dict_size']} x {settings[f'{grid}.dim']}, appearance embedding "
        f"{'on' if settings['model.appear_embed.enabled'] else 'off'}"
    ]
    if args.gpus > 1:
        lines.append(
            f"warning: {args.gpus} GPUs for one scene: they synchronise the whole hash table in every step, and "
            "without NVLink four were measured to be slower than one (NA-34); train scenes side by side instead"
        )
    if args.schedule == "upstream" and args.iterations < 85_000:
        lines.append(
            f"warning: with upstream's schedule {args.iterations} iterations do not use all levels of detail (NA-17); "
            "train.schedule: scaled does"
        )
    return "\n".join(lines)
