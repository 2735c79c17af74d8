"""From the field that an engine has learnt to a coloured mesh in world coordinates."""

from __future__ import annotations

import argparse
import json
import math
import time
from pathlib import Path
from typing import Any, Callable, List, NamedTuple, Protocol, Tuple

import torch
from torch import Tensor

from videomesh import checks
from videomesh.checks import Entry, Finding, Limit
from videomesh.errors import UserError
from videomesh.files import outputs
from videomesh.meshing import closing, crop, ply, refinement, sparse_mesh, surface
from videomesh.meshing.crop import EDGE, Crop
from videomesh.meshing.refinement import Moves
from videomesh.meshing.sparse_mesh import Mesh
from videomesh.meshing.surface import Topology, Views
from videomesh.scene import SUBJECT, Scene, find_masked, read_images, read_masks

SMALLEST_RESOLUTION = 32  # that is worth a mesh
PREVIEW_RESOLUTION = 128
PREVIEW_SHELL = 0.01  # distance to the region's sphere that counts as lying on it
# At resolution R a pixel of the photographs, scaled to R times this, is about half a voxel wide on a subject that fills
# the frame: more detail than the vertices can hold.
IMAGE_PIXELS_PER_VOXEL = 3
MAX_VIEWS = 64  # evenly chosen; more photographs show the same surface again
MIN_SEEN = 2  # photographs that must see a face (NA-30)
UNSEEN = ("remove", "close")
REFINE = ("auto", "always", "never")
# A vertex goes if the masks of more than this share of the photographs that show its place, and of at least two, put it
# outside of the subject. A mask may be wrong, and a hand may hide a part. The region stage asks for the same.
MASKS_DIFFER, MIN_OUTSIDE = 0.15, 2
MASK_TOLERANCE = 2  # px round the subject; masks and poses are not more exact
BYTES_PER_VERTEX = 600  # of a mesh at work, with its faces and intermediate results (NA-26)
MEMORY_SHARE = 0.7  # of what is available


class Check(NamedTuple):
    limit: Limit
    warn: float | None
    fail: float | None
    advice: str


UNTRAINED = (
    "Likely causes: too few iterations (train.iterations), a region that misses the subject (see region.png, set "
    "region.center and region.radius), the wrong scene_type, wrong poses (see gate.json), or a plain background that "
    "has the colour of the subject."
)
SPREAD_OUT = "See region.png. A sphere much larger than the subject holds much that is not the subject."
CHECKS = {
    "surface_size": Check(
        Limit("below", "vertices", "NA-29", "size of a quick mesh at resolution 128"), None, 500, UNTRAINED
    ),
    "roundness": Check(
        Limit(
            "below",
            "ratio",
            "NA-29",
            "spread of the distances from the quick mesh's middle / their mean (0: a sphere, as before training)",
        ),
        None,
        0.05,
        UNTRAINED,
    ),
    "shell_share": Check(
        Limit("above", "share", "NA-29", "share of the quick mesh that lies on the region's sphere"),
        None,
        0.3,
        UNTRAINED,
    ),
    "largest_component": Check(
        Limit("below", "share", "NA-28", "share of the largest component in the mesh's area"), 0.9, None, SPREAD_OUT
    ),
    # The underside of the ground, which no photograph can show, is a third of a good mesh of the demo.
    "unseen_share": Check(
        Limit("above", "share", "NA-30", "share of the area removed because fewer than 2 photographs see it"),
        0.5,
        None,
        SPREAD_OUT,
    ),
    "colour_spread": Check(
        Limit("below", "of 255", "NA-31", "standard deviation of the mesh's colours"),
        5,
        None,
        "The mesh has nearly one colour. See whether the photographs have.",
    ),
    "colour_difference": Check(
        Limit("above", "of 255", "NA-31", "difference between the mesh's colours and the photographs that show it"),
        40,
        None,
        "Photographs show other colours at one place. The poses are wrong (see gate.json), the subject shines or has "
        "moved, or its exposure changed.",
    ),
}


class Field(Protocol):
    """A trained scene of any engine: points are in the frame of the region's unit sphere."""

    center: Tensor  # (3,) float64 on the CPU, world
    radius: float  # world
    iteration: int

    def signed_distance(self, points: Tensor) -> Tensor: ...

    def colour(self, points: Tensor, directions: Tensor) -> Tensor: ...


class Raw(NamedTuple):
    """A surface before cleaning, in the unit sphere's frame."""

    mesh: Mesh
    colours: Tensor | None  # (V, 3) in 0..1 of its own; None: ask the field
    extractor: str  # its name, for mesh.json
    evaluations: int  # of the signed distance


Bounds = List[Tuple[float, float]]  # of each axis, in the unit sphere's frame
Extractor = Callable[[Field, Bounds, argparse.Namespace, torch.device], Raw]


class Photographs(NamedTuple):
    views: Views  # in the frame of the region's unit sphere
    images: Tensor  # (N, height, width, 3) uint8, on the CPU
    masks: Tensor  # (N, height, width) uint8, on the CPU, values as in masks.tar
    masked: Tensor  # (N,) bool, on the CPU: those whose mask says what the subject is


class Cleaned(NamedTuple):
    """The final surface, in the unit sphere's frame, and what was taken away on the way."""

    mesh: Mesh
    colours: Tensor  # (V, 3) in 0..1
    frames: Tensor  # (V,) uint8: how many of the photographs see each vertex
    spread: Tensor  # (V,) in 0..1: standard deviation of what these show there
    components_found: int  # in the region
    masked_share: float | None  # of the area in the region: outside of the subject by the masks; None without masks
    unseen_share: float  # of the rest
    cropped_share: float  # of the area that was seen
    moves: Moves | None  # None if vertices stayed where the field has its surface


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--checkpoint", type=Path, required=True, help="checkpoint.pt of a training milestone")
    add("--transforms", type=Path, required=True, help="transforms.json that it was trained with")
    add("--images", type=Path, required=True, help="images.tar of the poses stage: the undistorted frames")
    add("--masks", type=Path, required=True, help="masks.tar of the poses stage: where the subject is")
    add_mesh_arguments(parser)
    add("--device", choices=["auto", "cpu", "cuda"], default="auto", help="auto takes a GPU if there is one (default)")
    add("--threads", type=int, required=True, help="CPU threads")


def add_mesh_arguments(parser: argparse.ArgumentParser) -> None:
    """Those that a training does not have too."""
    add = parser.add_argument
    add("--resolution", type=int, required=True, help="voxels across the region's sphere")
    crop.add_arguments(parser)
    add(
        "--min-component",
        type=float,
        required=True,
        help="smallest component kept, as a share of the largest's area",
    )
    add(
        "--unseen",
        choices=UNSEEN,
        default="remove",
        help="surface that fewer than two photographs see: remove leaves holes (default), close spans them",
    )
    add(
        "--refine",
        choices=REFINE,
        default="auto",
        help="move vertices to where the photographs agree best: auto does that for sdfgrid on a CPU (default)",
    )
    add("--mesh", type=Path, required=True, help="mesh.ply to write, in world coordinates")
    add("--summary", type=Path, required=True, help="mesh.json to write, with counts, sizes and checks")


def make_mesh(
    field: Field,
    scene: Scene,
    args: argparse.Namespace,
    device: torch.device,
    started: float,
    extract_raw: Extractor,
    refine: bool,
) -> None:
    """All that follows a field: its surface, cleaned, refined if that is asked for, coloured, checked and written.

    scene: args.transforms as read_scene reads it; started: time.perf_counter() at the beginning of the command
    """
    bounds = region_bounds(args, field, scene)
    photographs = read_photographs(args, field, scene)
    chosen = crop.read(args, scene)

    preview, _ = cut_by_masks(extract_preview(field, device), photographs, args)
    found = check_preview(preview, args.checkpoint, field, may_be_round=bool(photographs.masked.any()))
    for holder in {device, torch.device("cpu")}:  # the finished mesh is written from the CPU
        check_memory(len(preview.vertices), args.resolution, holder)

    surface_started = time.perf_counter()
    voxel = 2 / args.resolution
    raw = extract_raw(field, bounds, args, device)
    cleaning_started = time.perf_counter()
    cleaned = clean(raw, field, photographs, args, chosen, refine)
    world = Mesh(cleaned.mesh.vertices * field.radius + field.center.to(device), cleaned.mesh.faces)
    shape = surface.topology(world)
    found += check_mesh(cleaned, shape)
    finished = time.perf_counter()

    summary = {
        **describe(world, shape, cleaned),
        "units": scene.units,
        "extractor": raw.extractor,
        "iteration": field.iteration,
        "resolution": args.resolution,
        "voxel": voxel * field.radius,
        "crop": chosen.words,
        "cropped_share": round(cleaned.cropped_share, 4),
        "masked_share": None if cleaned.masked_share is None else round(cleaned.masked_share, 4),
        "min_component": args.min_component,
        "unseen": args.unseen,
        "refined": describe_moves(cleaned.moves, field),
        "evaluations": raw.evaluations,
        "seconds": {
            "reading": round(surface_started - started, 2),
            "surface": round(cleaning_started - surface_started, 2),
            "cleaning": round(finished - cleaning_started, 2),
        },
        "verdict": checks.get_verdict(found),
        "checks": found,
    }
    with outputs(args.mesh, args.summary) as (mesh_part, summary_part):
        colours = (cleaned.colours.clamp(0, 1) * 255).round().byte()
        arrays = (world.vertices, world.faces, colours, cleaned.frames)
        ply.write(mesh_part, *(array.cpu().numpy() for array in arrays))
        summary_part.write_text(json.dumps(summary, indent=1, allow_nan=False) + "\n")
    print(report(summary))


# ----------------------------------------------------------------------------------------------------------- input


def check_same_region(args: argparse.Namespace, field: Field, scene: Scene) -> None:
    """A checkpoint knows its own region; photographs of another one would cut and colour it wrongly."""
    moved = float((torch.tensor(scene.center) - field.center).norm())
    if moved > 1e-3 * field.radius or abs(scene.radius / field.radius - 1) > 1e-3:
        raise UserError(
            f"{args.checkpoint}: trained on the region with centre {[round(x, 4) for x in field.center.tolist()]} and "
            f"radius {field.radius:.4g}, but {args.transforms} says {scene.center.tolist()} and "
            f"{scene.radius:.4g}; give the transforms.json it was trained with, or train again"
        )


def read_photographs(args: argparse.Namespace, field: Field, scene: Scene) -> Photographs:
    count = min(MAX_VIEWS, len(scene.names))
    rows = [k * len(scene.names) // count for k in range(count)]
    scale = min(1.0, IMAGE_PIXELS_PER_VOXEL * args.resolution / max(scene.width, scene.height))
    width, height = size = (round(scene.width * scale), round(scene.height * scale))
    names = [scene.names[row] for row in rows]
    images = torch.from_numpy(read_images(args.images, scene, names, size))
    masks = read_masks(args.masks, scene, names, size)
    world_from_cam = torch.tensor(scene.world_from_cam[rows])
    rotation = world_from_cam[:, :3, :3].transpose(1, 2)
    position = (world_from_cam[:, :3, 3:] - field.center[:, None]) / field.radius
    across, down = width / scene.width, height / scene.height
    views = Views(
        cam_from_unit=torch.cat([rotation, -rotation @ position], -1),
        focal=(scene.focal[0] * across, scene.focal[1] * down),
        principal=(scene.principal[0] * across, scene.principal[1] * down),
        size=size,
    )
    return Photographs(views, images, torch.from_numpy(masks), torch.from_numpy(find_masked(masks)))


# --------------------------------------------------------------------------------------------------------- surface


def extract_preview(field: Field, device: torch.device) -> Mesh:
    """The whole region at low resolution, in a fraction of a second."""
    mesh, _ = extract_surface(field, [(-1.0, 1.0)] * 3, PREVIEW_RESOLUTION, 1.0, device)
    return surface.crop_to_ball(mesh, 1.0)


def extract_sparse(field: Field, bounds: Bounds, args: argparse.Namespace, device: torch.device) -> Raw:
    mesh, stats = extract_surface(field, bounds, args.resolution, EDGE, device)
    return Raw(mesh, None, "sparse", stats.evaluations)


def extract_surface(
    field: Field, bounds: Bounds, resolution: int, radius: float, device: torch.device
) -> tuple[Mesh, sparse_mesh.Stats]:
    try:
        return sparse_mesh.extract(field.signed_distance, bounds, 2 / resolution, radius, device)
    except ValueError as error:
        raise UserError(f"after {field.iteration} iterations {error}; train again, or with another train.seed")


def region_bounds(args: argparse.Namespace, field: Field, scene: Scene) -> Bounds:
    """The lattice's extent in the unit sphere's frame: transforms.json's box, if any, within the sphere."""
    if scene.box is None:
        return [(-EDGE, EDGE)] * 3
    unit = ((torch.tensor(scene.box) - field.center[:, None]) / field.radius).clamp(-EDGE, EDGE)
    if not bool((unit[:, 0] < unit[:, 1]).all()):
        raise UserError(
            f"{args.transforms}: the box aabb_range {scene.box.tolist()} is empty or beyond {EDGE:g} of the "
            "region's radius; draw it round the subject"
        )
    return [(low, high) for low, high in unit.tolist()]


def cut_by_masks(mesh: Mesh, photographs: Photographs, args: argparse.Namespace) -> tuple[Mesh, float | None]:
    """The part of a mesh that the masks do not put outside of the subject, and the share of the area cut off.

    The latter is None if no mask says what the subject is. Raises UserError if nothing is left.
    """
    masked = photographs.masked
    if not bool(masked.any()) or not len(mesh.faces):
        return mesh, None
    views = photographs.views._replace(cam_from_unit=photographs.views.cam_from_unit[masked])
    masks = list(photographs.masks[masked])
    shown, outside = surface.count_outside(mesh.vertices[:, :3], views, masks, MASK_TOLERANCE)
    gone = (outside >= MIN_OUTSIDE) & (outside > MASKS_DIFFER * shown)
    kept, _ = surface.keep_faces(mesh, ~gone[mesh.faces].any(-1))
    if not len(kept.faces):
        raise UserError(
            f"{args.checkpoint}: all of the surface lies where the masks in {args.masks} say that the subject is not. "
            "White (255) must be the subject. Look at the masks, or set masks to ignore"
        )
    before, after = (float(surface.face_areas(crop.bare(part)).sum()) for part in (mesh, kept))
    return kept, max(0.0, 1 - after / before)


def clean(
    raw: Raw, field: Field, photographs: Photographs, args: argparse.Namespace, chosen: Crop, refine: bool
) -> Cleaned:
    """Drop the region's edge, what is not the subject by the masks, and small components. Refine the rest if that is
    asked for. Then drop what no two photographs see, colour the rest, crop it, and close its holes if that is asked
    for."""
    painted = raw.mesh
    if raw.colours is not None:
        painted = Mesh(torch.cat([painted.vertices, raw.colours.to(painted.vertices)], 1), painted.faces)
    painted = surface.crop_to_ball(painted, EDGE)
    if not len(painted.faces):
        raise UserError(
            f"{args.checkpoint}: no surface within {EDGE:g} of the region's radius and the box (aabb_range) of "
            f"{args.transforms}; move the region"
        )
    painted, masked_share = cut_by_masks(painted, photographs, args)
    mesh = crop.bare(painted)
    large, components_found = surface.large_components(mesh, args.min_component)
    mesh, used = surface.keep_faces(mesh, large)
    images, shows = list(photographs.images), list(photographs.masks == SUBJECT)
    voxel, moves = 2 / args.resolution, None
    if refine:
        mesh, moves = refinement.refine(mesh, photographs.views, images, shows, voxel)
    seen, colours, weight, spread = surface.observe(mesh, photographs.views, images, shows, voxel)
    if raw.colours is not None:
        learnt = painted.vertices[used, 3:].float()
    else:
        learnt = field.colour(mesh.vertices.float(), -surface.vertex_normals(mesh).float())
    colours = torch.where(weight[:, None] > 0, colours, learnt)

    shown = (seen >= MIN_SEEN)[mesh.faces].any(-1)
    if not bool(shown.any()):
        raise UserError(
            f"{args.checkpoint}: no face of the mesh is seen by {MIN_SEEN} of {len(photographs.images)} photographs. "
            f"The poses in {args.transforms} are not those it was trained with, or the cameras do not face the region"
        )
    area = surface.face_areas(mesh)
    unseen_share = float(area[~shown].sum() / area.sum())
    mesh, kept = surface.keep_faces(mesh, shown)
    large, _ = surface.large_components(mesh, args.min_component)  # the cut may have split some
    mesh, still_kept = surface.keep_faces(mesh, large)
    values = torch.cat([colours, seen[:, None], spread[:, None]], 1)[kept][still_kept].to(mesh.vertices)
    painted = Mesh(torch.cat([mesh.vertices, values], 1), mesh.faces)
    painted, cropped_share = crop.apply(painted, chosen, voxel)
    large, _ = surface.large_components(crop.bare(painted), args.min_component)
    painted, _ = surface.keep_faces(painted, large)
    if args.unseen == "close":
        painted = close(painted, args.min_component)
    vertices, colours = painted.vertices[:, :3], painted.vertices[:, 3:6].float()
    frames, spread = painted.vertices[:, 6:].T
    return Cleaned(
        Mesh(vertices, painted.faces),
        colours,
        frames.round().byte(),
        spread.float(),
        components_found,
        masked_share,
        unseen_share,
        cropped_share,
        moves,
    )


def close(painted: Mesh, min_component: float) -> Mesh:
    """The mesh without holes; no photograph sees what closes them. Small parts that only touched the rest go."""
    closed, new = closing.close(painted)
    closed.vertices[new, 6] = 0
    large, _ = surface.large_components(crop.bare(closed), min_component)
    return surface.keep_faces(closed, large)[0]


# ---------------------------------------------------------------------------------------------------------- checks


def check_preview(preview: Mesh, path: Path, field: Field, may_be_round: bool) -> list[Entry]:
    """Raises UserError if the field holds no surface, or still the sphere it began as, or only the region's edge.

    may_be_round: the surface has been cut to the masks of a subject. What is still a sphere then is a ball.
    """
    count = len(preview.vertices)
    found = [judge("surface_size", count)]
    if count:
        from_middle = (preview.vertices - preview.vertices.mean(0)).norm(dim=-1)
        if not may_be_round:
            found.append(judge("roundness", float(from_middle.std(unbiased=False) / from_middle.mean())))
        on_shell = (preview.vertices.norm(dim=-1) - 1).abs() < PREVIEW_SHELL
        found.append(judge("shell_share", float(on_shell.double().mean())))
    failed = checks.select(found, "fail")
    if failed:
        raise UserError(f"{path}: no usable surface after {field.iteration} iterations: {checks.describe(failed[0])}")
    return found


def check_mesh(cleaned: Cleaned, shape: Topology) -> list[Entry]:
    colours = cleaned.colours.cpu() * 255
    several = cleaned.frames >= MIN_SEEN  # one photograph alone differs from nothing
    spread = float(cleaned.spread[several].mean()) if bool(several.any()) else 0.0
    return [
        judge("largest_component", shape.largest_share),
        judge("unseen_share", cleaned.unseen_share),
        judge("colour_spread", float(colours.std(0, unbiased=False).mean())),
        judge("colour_difference", 255 * spread),
    ]


def judge(name: str, value: float) -> Entry:
    limit, warn, fail, advice = CHECKS[name]
    return checks.judge(name, limit, Finding(value, advice), warn, fail)


def check_memory(preview_vertices: int, resolution: int, device: torch.device) -> None:
    """Raises UserError if the mesh will not fit: its vertices grow with the square of the resolution."""
    vertices = preview_vertices * (resolution / PREVIEW_RESOLUTION) ** 2
    available = available_memory(device)
    if available is not None and vertices * BYTES_PER_VERTEX > MEMORY_SHARE * available:
        fitting = resolution * math.sqrt(MEMORY_SHARE * available / (vertices * BYTES_PER_VERTEX)) // 32 * 32
        raise UserError(
            f"--resolution {resolution}: about {vertices / 1e6:.1f} million vertices would need "
            f"{vertices * BYTES_PER_VERTEX / 1e9:.1f} GB of memory, {available / 1e9:.1f} GB are free; choose a "
            f"mesh.resolution of at most {max(SMALLEST_RESOLUTION, fitting):.0f}, or a machine with more memory"
        )


def available_memory(device: torch.device) -> int | None:
    """Bytes; None where it cannot be known."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")), None)


# ---------------------------------------------------------------------------------------------------------- report


def describe(world: Mesh, shape: Topology, cleaned: Cleaned) -> dict[str, Any]:
    low, high = world.vertices.min(0).values, world.vertices.max(0).values
    return {
        "vertices": len(world.vertices),
        "faces": len(world.faces),
        "components": shape.components,
        "components_found": cleaned.components_found,
        "largest_component_share": shape.largest_share,
        "open_edges": shape.open_edges,
        "euler_number": shape.euler_number,
        "area": float(surface.face_areas(world).sum()),
        "bounding_box": [low.tolist(), high.tolist()],
        "size": (high - low).tolist(),
    }


def describe_moves(moves: Moves | None, field: Field) -> dict[str, float] | None:
    if moves is None:
        return None
    return {"known_share": round(moves.known_share, 4), "moved": moves.moved * field.radius, "moved_px": moves.moved_px}


def report(summary: dict[str, Any]) -> str:
    line = (
        f"mesh: {summary['vertices']:,} vertices, {summary['faces']:,} faces, {summary['components']} components in "
        f"{sum(summary['seconds'].values()):.1f} s; {checks.summarize(summary['checks'])}"
    )
    size = " x ".join(f"{length:.3g}" for length in summary["size"])
    unit = "m" if summary["units"] == "m" else "in a unit of no known length; scale.distance gives it one"
    line += f"\nsize: {size} {unit}"
    method, share = summary["crop"]["method"], 100 * summary["cropped_share"]
    line += f"\ncrop: {method}, {share:.3g} % of the area cut off"
    if summary["masked_share"] is not None:
        line += f"\nmasks: {100 * summary['masked_share']:.3g} % of the area is not the subject and was cut off"
    if summary["refined"] is not None:
        share, moved = 100 * summary["refined"]["known_share"], summary["refined"]["moved_px"]
        line += f"\nrefined: photographs agree on {share:.0f} % of the surface; vertices moved by {moved:.2f} px"
    warnings = checks.select(summary["checks"], "warn")
    return "\n".join([line, *(f"warning: {checks.describe(entry)}" for entry in warnings)])
