"""Test double: a checkpoint becomes a PLY file; an empty one, and exit code 0, where there is no surface.

inference_args.crash_extraction: it fails; inference_args.slow_extraction: it takes that many seconds.
"""

import argparse
import json
import os
import sys
import time
from functools import partial

import numpy as np

sys.path.append(os.getcwd())
from imaginaire.config import Config, parse_cmdline_arguments, recursive_update_strict
from imaginaire.trainers.utils.get_trainer import get_trainer
from projects.neuralangelo.utils.mesh import extract_mesh, extract_texture


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--config", required=True)
    parser.add_argument("--checkpoint", default="")
    parser.add_argument("--resolution", default=512, type=int)
    parser.add_argument("--block_res", default=64, type=int)
    parser.add_argument("--output_file", default="mesh.ply")
    parser.add_argument("--textured", action="store_true")
    args, others = parser.parse_known_args()
    cfg = Config(args.config)
    recursive_update_strict(cfg, parse_cmdline_arguments(others))
    print("Running mesh extraction with", os.environ["WORLD_SIZE"], "GPUs.")
    time.sleep(cfg.get("inference_args", {}).get("slow_extraction", 0))
    if cfg.get("inference_args", {}).get("crash_extraction"):
        raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB")

    trainer = get_trainer(cfg, is_inference=True, seed=0)
    trainer.checkpointer.load(args.checkpoint, load_opt=False, load_sch=False)
    trainer.current_iteration = trainer.checkpointer.eval_iteration
    trainer.model_module.neural_sdf.set_active_levels(trainer.current_iteration)
    trainer.model_module.neural_sdf.set_normal_epsilon()

    with open(f"{cfg.data.root}/transforms.json") as file:
        meta = json.load(file)
    bounds = (np.array(meta["aabb_range"]) - np.array(meta["sphere_center"])[:, None]) / meta["sphere_radius"]
    model = trainer.model_module
    texture = partial(
        extract_texture, neural_sdf=model.neural_sdf, neural_rgb=model.neural_rgb, appear_embed=model.appear_embed
    )
    mesh = extract_mesh(
        lambda points: -model.neural_sdf.sdf(points), bounds, 2 / args.resolution, args.block_res, texture
    )
    print(f"vertices: {len(mesh.vertices)}")
    os.makedirs(os.path.dirname(args.output_file))
    if len(mesh.vertices):
        mesh.vertices = mesh.vertices * meta["sphere_radius"] + np.array(meta["sphere_center"])
        mesh.export(args.output_file)
    else:
        with open(args.output_file, "w") as file:
            file.write("ply\nformat binary_little_endian 1.0\nelement vertex 0\nelement face 0\nend_header\n")


if __name__ == "__main__":
    main()
