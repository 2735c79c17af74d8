"""Write transforms.json: the camera poses in an upright world, and the sphere that training is limited to.

Reads the COLMAP model of the poses stage. The region comes from, first match wins: an override file, --center with
--radius, or --method.
"""

import argparse
import dataclasses
from pathlib import Path

import numpy as np

from videomesh.errors import run
from videomesh.files import outputs, write_json
from videomesh.poses.model import Camera, Image
from videomesh.region.choice import check_reach, choose_region, describe, summarize
from videomesh.region.override import parse_sphere, read_override
from videomesh.region.picture import draw
from videomesh.region.reading import (
    Poses,
    match_frames,
    read_frames,
    read_model,
    read_poses_json,
    read_subject_masks,
    to_cloud,
    to_lens,
    to_scene,
)
from videomesh.region.scale import get_scale, parse_marks
from videomesh.region.subject import SCENE_TYPES, find_subject, guess_scene_type
from videomesh.region.upright import UP, find_world
from videomesh.region.upstream import upstream_region
from videomesh.region.views import find_focus, views_from
from videomesh.scene import SparsePoints, list_masks, write_points, write_scene


def main() -> None:
    args = parse_arguments()
    camera, images, points = read_model(args.cameras, args.image_poses, args.points3d)
    frames = match_frames(images, read_frames(args.frames_json), args.frames_json)
    poses, lens, cloud = read_poses_json(args.poses_json), to_lens(camera), to_cloud(points, images)
    scale, units = find_scale(args, poses, camera, images)
    views = views_from(np.stack([image.world_from_cam for image in images]))
    turned = np.array([frame["turned"] for frame in frames])
    world, up_from = find_world(views, cloud, lens, turned, poses.given, scale, units)

    masks = list_masks(args.masks) if args.masks else []
    scene = to_scene(args.transforms, camera, images, world, masks)
    views, cloud = views_from(scene.world_from_cam), world.move_cloud(cloud)
    override = read_override(args.override, scene, args.override_values) if args.override else None
    explicit = parse_sphere(args.center, args.radius)
    focus = find_focus(views, cloud, lens)
    given = override.scene_type if override and override.scene_type else args.scene_type
    used = guess_scene_type(focus) if given == "auto" else given
    subject_masks = read_subject_masks(args.masks, scene) if masks else None
    subject = find_subject(views, cloud, lens, used, focus, UP, args.margin, subject_masks)
    upstream = upstream_region(views, cloud.xyz, used)
    choice = choose_region(override, explicit, args.method, subject, upstream)
    check_reach(choice, views, cloud, args.override)

    summary = summarize(choice, given, used, focus, subject, upstream, views, cloud, up_from)
    region = choice.region
    scene = dataclasses.replace(scene, center=region.center, radius=region.radius, box=region.aabb_range)
    with outputs(args.transforms, args.summary, args.picture, args.points) as parts:
        write_scene(parts[0], scene, frames)
        write_json(parts[1], summary)
        draw(parts[2], views, cloud, summary)
        write_points(parts[3], SparsePoints(*cloud, subject.mask))
    print(describe(summary))


def find_scale(args: argparse.Namespace, poses: Poses, camera: Camera, images: list[Image]) -> tuple[float, str]:
    """Factor on COLMAP's lengths, and the unit that they have then."""
    if args.scale_distance is not None:
        marks = {"scale.from": parse_marks(args.scale_from, "scale.from")}
        marks["scale.to"] = parse_marks(args.scale_to, "scale.to")
        return get_scale(args.scale_distance, marks, camera, images), "m"
    return 1.0, "m" if poses.metric else "arbitrary"


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    source = parser.add_argument_group("input")
    source.add_argument("--cameras", type=Path, required=True, help="COLMAP cameras.bin with one PINHOLE camera")
    source.add_argument("--image-poses", type=Path, required=True, help="COLMAP images.bin")
    source.add_argument("--points3d", type=Path, required=True, help="COLMAP points3D.bin")
    source.add_argument("--frames-json", type=Path, required=True, help="frames.json of the frames stage")
    source.add_argument("--poses-json", type=Path, required=True, help="poses.json of the poses stage")
    source.add_argument("--masks", type=Path, help="masks.tar of the poses stage, if there is one")
    choice = parser.add_argument_group("region")
    choice.add_argument("--scene-type", choices=("auto", *SCENE_TYPES), required=True, help="what was filmed")
    choice.add_argument(
        "--method",
        choices=("robust", "upstream"),
        required=True,
        help="robust: sphere round the subject; upstream: the rules of Neuralangelo's own scripts",
    )
    choice.add_argument("--margin", type=margin, required=True, help="the robust sphere is this much larger")
    choice.add_argument("--center", default="", help="sphere centre X,Y,Z; write --center=X,Y,Z for the minus signs")
    choice.add_argument("--radius", default="", help="sphere radius, with --center")
    choice.add_argument(
        "--override",
        default="",
        help='JSON file {"center": [x, y, z], "radius": r}, or a transforms.json of the BlenderNeuralangelo add-on',
    )
    choice.add_argument("--override-values", default="", help="what that file holds, as JSON, in place of reading it")
    size = parser.add_argument_group("real size")
    size.add_argument("--scale-distance", type=float, help="metres between the two places below")
    size.add_argument("--scale-from", default="", help="a place in pictures of images.tar: NAME X Y, NAME X Y")
    size.add_argument("--scale-to", default="", help="the other place")
    result = parser.add_argument_group("output")
    result.add_argument("--transforms", type=Path, required=True, help="transforms.json for the engines")
    result.add_argument("--summary", type=Path, required=True, help="region.json: how the region was found")
    result.add_argument("--picture", type=Path, required=True, help="region.png: cameras, points, sphere")
    result.add_argument("--points", type=Path, required=True, help="points.npz: the sparse points, for the engines")
    return parser.parse_args()


def margin(text: str) -> float:
    value = float(text)
    if not 0.5 <= value <= 5:
        raise argparse.ArgumentTypeError(f"{text} is not between 0.5 and 5")
    return value


if __name__ == "__main__":
    run(main)
