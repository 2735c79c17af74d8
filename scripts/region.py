"""Write transforms.json: the camera poses, and the sphere that training and extraction are limited to.

Reads the COLMAP model of the poses stage. The region comes from, first match wins: an override file, --center with
--radius, or --method.
"""

import argparse
from pathlib import Path

import numpy as np

from videomesh.errors import run
from videomesh.files import outputs, write_json
from videomesh.region.choice import check_reach, choose_region, describe, summarize
from videomesh.region.override import parse_sphere, read_override
from videomesh.region.picture import draw
from videomesh.region.reading import match_frames, read_frames, read_model, to_cloud, to_scene
from videomesh.region.subject import SCENE_TYPES, find_subject, guess_scene_type
from videomesh.region.upstream import upstream_region
from videomesh.region.views import find_focus, views_from
from videomesh.scene import SparsePoints, write_points, write_scene


def main() -> None:
    args = parse_arguments()
    camera, images, points = read_model(args.cameras, args.image_poses, args.points3d)
    frames = match_frames(images, read_frames(args.frames_json), args.frames_json)
    views = views_from(np.stack([image.world_from_cam for image in images]))
    cloud = to_cloud(points, images)

    override = read_override(args.override, images, views) if args.override else None
    explicit = parse_sphere(args.center, args.radius)
    focus = find_focus(views, cloud)
    given = override.scene_type if override and override.scene_type else args.scene_type
    used = guess_scene_type(focus) if given == "auto" else given
    subject = find_subject(views, cloud, used, focus, args.margin)
    upstream = upstream_region(views, cloud.xyz, used)
    choice = choose_region(override, explicit, args.method, subject, upstream)
    check_reach(choice, views, cloud, args.override)

    summary = summarize(choice, given, used, focus, subject, upstream, views, cloud)
    with outputs(args.transforms, args.summary, args.picture, args.points) as parts:
        write_scene(parts[0], to_scene(args.transforms, camera, images, choice.region), frames)
        write_json(parts[1], summary)
        draw(parts[2], views, cloud, summary)
        write_points(parts[3], SparsePoints(*cloud, subject.mask))
    print(describe(summary))


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    source = parser.add_argument_group("input")
    source.add_argument("--cameras", type=Path, required=True, help="COLMAP cameras.bin with one PINHOLE camera")
    source.add_argument("--image-poses", type=Path, required=True, help="COLMAP images.bin")
    source.add_argument("--points3d", type=Path, required=True, help="COLMAP points3D.bin")
    source.add_argument("--frames-json", type=Path, required=True, help="frames.json of the frames stage")
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
