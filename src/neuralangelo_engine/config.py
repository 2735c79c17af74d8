"""The config command: the settings that Neuralangelo trains and extracts a scene with.

They hold what upstream's generator would write, and a schedule. The file is JSON, which every reader of YAML reads.
Upstream takes a name that it does not know without a word (NA-16), so each name is looked up in its own two files.
"""

import argparse
import json
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from neuralangelo_engine import masks
from neuralangelo_engine.schedule import get_settings
from videomesh.checks import get_exposure_range
from videomesh.errors import UserError
from videomesh.files import outputs, read_json, write_json
from videomesh.nesting import merge, nest
from videomesh.scene import Scene, read_scene

PARENT = "projects/neuralangelo/configs/base.yaml"
BASE = "imaginaire/config_base.yaml"
DATA = "../data"  # beside the unpacked programs, from where upstream runs
EXPOSURE_RANGE = 0.15  # of full scale; above it each image gets a colour correction of its own (NA-05)
EMBEDDING = 8  # numbers an image; upstream's own choice
VALIDATION_SIDE = 200  # px; larger renderings can run out of memory late in the training (NA-18)
VALIDATION_IMAGES = 4
PRELOAD_GB = 20  # half the memory of a small machine with a GPU, 40 GB
# GPU memory in GB from which on -> hashgrid dict_size and dim (NA-18).
TABLES = {23.0: (22, 8), 15.0: (21, 8), 11.0: (21, 4), 0.0: (20, 4)}
# 28.8 instead of 366.7 million parameters, since half of each step is work on the whole table; the time goes into twice
# as many rays. Measured in docs/neuralangelo.md.
FAST_TABLE, FAST_RAYS = (19, 4), 1024


def main(args: argparse.Namespace) -> None:
    scene, scene_type = read_scene(args.transforms), read_scene_type(args.region)
    overrides = read_overrides(args.overrides)
    settings = {
        **get_data_settings(scene),
        **get_scene_settings(scene_type),
        **({} if overrides.get("model.background.enabled") else get_mask_settings(scene, scene_type, args.masks)),
        **get_appearance_settings(args),
        **get_settings(args.iterations, args.schedule),
        **get_table_settings(args),
        **overrides,
    }
    known = read_known(args.source)
    # Upstream's default, written down so that the training can compare it with its number of GPUs.
    settings.setdefault("data.train.batch_size", known["data"]["train"]["batch_size"])
    config = {"_parent_": PARENT, **nest(settings)}
    check(config, known, args)
    with outputs(args.output) as (part,):
        write_json(part, config)
    print(report(settings, args, masks.get_colour(config) if any(scene.masks) else None))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--source", type=Path, required=True, help="neuralangelo-94390b6.tar.gz, whose settings are the known ones")
    add("--transforms", type=Path, required=True, help="transforms.json of the region stage")
    add("--region", type=Path, required=True, help="region.json of the region stage, for the scene type")
    add("--frames-json", type=Path, required=True, help="frames.json of the frames stage, for the exposures")
    add("--masks", type=Path, required=True, help="masks.tar of the poses stage: where the subject is")
    add("--iterations", type=int, required=True, help="length of the whole schedule")
    add(
        "--schedule",
        choices=("scaled", "upstream"),
        required=True,
        help="scaled to the iterations, or upstream's own numbers",
    )
    add("--preset", choices=("full", "fast"), required=True, help="size of the hash table")
    add("--appearance", choices=("auto", "always", "never"), required=True, help="a colour correction for each image")
    add("--gpu-memory", type=parse_memory, required=True, help="GB of GPU memory, or None if the whole hash table fits")
    add("--overrides", required=True, help='JSON {"dotted.name": value} that wins over all of this')
    add("--output", type=Path, required=True, help="config.yaml to write")


def parse_memory(text: str) -> float | None:
    return None if text == "None" else float(text)


# Settings --------------------------------------------------------------------------------------------------------


def read_scene_type(path: Path) -> str:
    try:
        return str(read_json(path)["scene_type"]["used"])
    except (KeyError, TypeError):
        raise UserError(f"{path}: has no scene_type; run the region stage again")


def get_data_settings(scene: Scene) -> dict[str, Any]:
    width, height, count = scene.width, scene.height, len(scene.names)
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


def get_mask_settings(scene: Scene, scene_type: str, path: Path) -> dict[str, Any]:
    """A room has walls all round, so that nothing in it can be before white."""
    return masks.get_settings() if scene_type != "indoor" and masks.are_usable(path, scene) else {}


def get_appearance_settings(args: argparse.Namespace) -> dict[str, Any]:
    changes = args.appearance == "auto" and read_exposure_range(args.frames_json) > EXPOSURE_RANGE
    wanted = args.appearance == "always" or changes
    return {"model.appear_embed.enabled": wanted, **({"model.appear_embed.dim": EMBEDDING} if wanted else {})}


def read_exposure_range(path: Path) -> float:
    """Range of the frames' mean brightness, 5th to 95th percentile, as a share of full scale."""
    try:
        return get_exposure_range([float(frame["luminance"]) for frame in read_json(path)["frames"]])
    except (KeyError, TypeError, ValueError, IndexError):
        raise UserError(f"{path}: has no frames with a luminance; run the frames stage again")


def get_table_settings(args: argparse.Namespace) -> dict[str, Any]:
    memory = args.gpu_memory or max(TABLES)
    fitting = next(table for least, table in TABLES.items() if memory >= least)
    size, dim = FAST_TABLE if args.preset == "fast" else fitting
    prefix = "model.object.sdf.encoding.hashgrid"
    settings = {f"{prefix}.dict_size": size, f"{prefix}.dim": dim}
    return settings | ({"model.render.rand_rays": FAST_RAYS} if args.preset == "fast" else {})


def read_overrides(text: str) -> dict[str, Any]:
    """The configuration has checked them."""
    return dict(json.loads(text))


# Checks ----------------------------------------------------------------------------------------------------------


def check(config: Mapping[str, Any], known: dict[str, Any], args: argparse.Namespace) -> None:
    """UserError if upstream would not know a name, or the schedule does not fit."""
    optimiser = known.setdefault("optim", {}).setdefault("params", {})
    optimiser |= dict.fromkeys(("betas", "eps", "amsgrad", "fused"))  # torch's own, handed through
    values = {name: value for name, value in config.items() if name != "_parent_"}
    unknown = find_unknown(values, known)
    if unknown:
        raise UserError(f"{args.source}: this version of Neuralangelo has no setting {', '.join(unknown)}")
    merged = merge(known, values)
    schedule, coarse = merged["optim"]["sched"], merged["model"]["object"]["sdf"]["encoding"]["coarse2fine"]
    if args.schedule == "scaled":
        levels_at = schedule["warm_up_end"] + coarse["step"] * merged["model"]["object"]["sdf"]["encoding"]["levels"]
        if levels_at > 0.8 * args.iterations:
            raise UserError(
                f"all levels of detail would be in use only at iteration {levels_at} of {args.iterations}, too late to "
                "learn them. Raise train.iterations, or lower optim.sched.warm_up_end or "
                "model.object.sdf.encoding.coarse2fine.step in neuralangelo.overrides"
            )


def find_unknown(values: Mapping[str, Any], known: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Dotted names in `values` that `known` lacks, both nested. A leaf or empty in `known` may hold anything."""
    unknown = []
    for name, value in values.items():
        key = f"{prefix}{name}"
        if name not in known:
            unknown.append(key)
        elif isinstance(value, Mapping) and isinstance(known[name], Mapping) and known[name]:
            unknown += find_unknown(value, known[name], f"{key}.")
    return unknown


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


def report(settings: Mapping[str, Any], args: argparse.Namespace, colour: int | None) -> str:
    """colour: what is painted over all but the subject, if masks say where it is."""
    grid = "model.object.sdf.encoding.hashgrid"
    lines = [
        f"neuralangelo: {args.iterations} iterations, {args.schedule} schedule, {settings['data.num_images']} images, "
        f"hash table 2^{settings[f'{grid}.dict_size']} x {settings[f'{grid}.dim']}, appearance embedding "
        f"{'on' if settings['model.appear_embed.enabled'] else 'off'}"
    ]
    if colour is not None:
        name = "white" if colour else "black"
        lines.append(f"masks: what is outside of the subject becomes {name}, and is learnt as empty")
    if args.schedule == "upstream" and args.iterations < 85_000:
        lines.append(
            f"warning: {args.iterations} iterations of upstream's schedule do not reach all levels of detail. "
            "Set neuralangelo.schedule to scaled"
        )
    return "\n".join(lines)
