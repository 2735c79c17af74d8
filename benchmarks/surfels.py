"""2D Gaussian splatting on the frames and poses of a capture: how good its mesh is after how many seconds.

Needs an NVIDIA GPU, gsplat (Apache-2.0) and scikit-image. The method is that of 2DGS (Huang et al. 2024) as gsplat has
it: L1 and D-SSIM, normals that agree with depths, little distortion along each ray, and gsplat's default densification.
The median depths of all frames are fused in a truncated signed distance (Curless and Levoy 1996), and the mesh is
cleaned as ours is.

    python benchmarks/surfels.py --capture results/tractor --iterations 1000 7000

It prints one JSON line for each number of iterations.
"""

import argparse
import json
import math
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from gsplat import DefaultStrategy, rasterization_2dgs
from skimage.measure import marching_cubes
from torch import Tensor
from torch.nn import functional as F

from sdfgrid import dataset, settings
from videomesh.meshing import crop, extract, ply
from videomesh.meshing.sparse_mesh import Mesh
from videomesh.scene import read_points, read_scene

ROOT = Path(__file__).resolve().parent.parent
DEVICE = torch.device("cuda")
NEAR, FAR = 0.01, 1000.0
SH_DEGREE, SH_BASE = 3, 0.28209479  # of the colours, and the constant of degree 0
# Weights and starts as in 2DGS, but for a schedule of any length: there 0.05 and from 7,000 of 30,000 on.
NORMAL_WEIGHT, NORMAL_FROM = 0.05, 0.25
DISTORTION_WEIGHT, DISTORTION_FROM = 0.01, 0.1
DSSIM = 0.2
# gsplat's examples; that of the centres is times the extent of the cameras, and falls to a hundredth.
RATES = {"means": 1.6e-4, "scales": 5e-3, "quats": 1e-3, "opacities": 5e-2, "sh0": 2.5e-3, "shN": 2.5e-3 / 20}
TRUNCATION = 4  # voxels


def main() -> None:
    args = parse_arguments()
    region, poses = args.capture / "region", args.capture / "poses"
    numbers = settings.from_dict(
        {"iterations": 1, "image_size": args.image_size, "seed": args.seed, "tilt": 0.0}  # the region's own frame
    )
    data = dataset.load(
        region / "transforms.json",
        poses / "images.tar",
        region / "points.npz",
        poses / "masks.tar",
        numbers,
        DEVICE,
    )
    cameras = Cameras(data)
    train(data, cameras, args, 30)  # loads and compiles what is needed
    for iterations in args.iterations:
        print(json.dumps(measure(data, cameras, args, iterations)), flush=True)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--capture", type=Path, required=True, help="results/tractor, with poses/ and region/")
    parser.add_argument("--truth", type=Path, default=ROOT / "benchmarks" / "data" / "tractor_ground_truth.npz")
    parser.add_argument("--work", type=Path, default=Path("surfels"), help="folder for the meshes")
    parser.add_argument("--iterations", type=int, nargs="+", required=True)
    parser.add_argument("--image-size", type=int, default=640, help="long side of the images (%(default)s)")
    parser.add_argument("--resolution", type=int, default=512, help="of the mesh (%(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


class Cameras:
    """In the frame of the region's unit sphere, as gsplat wants them."""

    def __init__(self, data: dataset.Dataset) -> None:
        count = len(data.images)
        self.height, self.width = data.images.shape[1:3]
        self.world_from_cam = torch.eye(4, device=DEVICE).repeat(count, 1, 1)
        self.world_from_cam[:, :3] = data.poses
        self.cam_from_world = torch.linalg.inv(self.world_from_cam)
        (fx, fy), (cx, cy) = data.focal, data.principal
        self.matrix = torch.tensor([[fx, 0, cx], [0, fy, cy], [0, 0, 1.0]], device=DEVICE)
        centres = self.world_from_cam[:, :3, 3]
        self.extent = 1.1 * float((centres - centres.mean(0)).norm(dim=-1).max())

    def project(self, points: Tensor, frame: int) -> tuple[Tensor, Tensor, Tensor]:
        """Pixels (N,) and depths (N,) of points (N, 3)."""
        pose = self.cam_from_world[frame]
        x, y, depth = (points @ pose[:3, :3].T + pose[:3, 3]).unbind(-1)
        matrix = self.matrix
        return x / depth * matrix[0, 0] + matrix[0, 2], y / depth * matrix[1, 1] + matrix[1, 2], depth

    def draw(self, splats: torch.nn.ParameterDict, frame: int, degree: int) -> Any:
        return rasterization_2dgs(
            splats["means"],
            splats["quats"],
            splats["scales"].exp(),
            splats["opacities"].sigmoid(),
            torch.cat([splats["sh0"], splats["shN"]], 1),
            self.cam_from_world[frame][None],
            self.matrix[None],
            self.width,
            self.height,
            sh_degree=degree,
            packed=False,
            render_mode="RGB+ED",
            distloss=True,
            near_plane=NEAR,
            far_plane=FAR,
        )


def measure(data: dataset.Dataset, cameras: Cameras, args: argparse.Namespace, iterations: int) -> dict[str, Any]:
    started = time.perf_counter()
    splats = train(data, cameras, args, iterations)
    trained = time.perf_counter()
    with torch.no_grad():
        mesh = fuse(render_depths(splats, cameras), cameras, args.resolution)
        torch.cuda.synchronize()
        fused = time.perf_counter()
        path = args.work / f"{iterations}.ply"
        write(mesh, args, path)
    cleaned = time.perf_counter()
    program = [sys.executable, str(ROOT / "benchmarks" / "evaluate_mesh.py"), f"--mesh={path}"]
    program += [f"--truth={args.truth}", f"--transforms={args.capture / 'region' / 'transforms.json'}"]
    done = subprocess.run(program, stdout=subprocess.PIPE, text=True, check=True)
    return {
        "iterations": iterations,
        "splats": len(splats["means"]),
        "training": round(trained - started, 1),
        "fusing": round(fused - trained, 1),
        "cleaning": round(cleaned - fused, 1),
        **json.loads(done.stdout.splitlines()[-1]),
    }


def train(data: dataset.Dataset, cameras: Cameras, args: argparse.Namespace, iterations: int) -> torch.nn.ParameterDict:
    torch.manual_seed(args.seed)
    splats = begin(data, cameras, args)
    rates = {**RATES, "means": RATES["means"] * cameras.extent}
    optimisers = {
        key: torch.optim.Adam([{"params": value, "lr": rates[key], "name": key}], eps=1e-15, fused=True)
        for key, value in splats.items()
    }
    long = iterations >= 7000
    strategy = DefaultStrategy(
        key_for_gradient="gradient_2dgs",
        refine_start_iter=min(500, iterations // 10),
        refine_stop_iter=iterations // 2,
        refine_every=100 if iterations >= 3000 else 50,
        reset_every=3000 if long else 10**9,  # what is reset needs time to come back
        prune_opa=0.05 if long else 0.01,
    )
    state = strategy.initialize_state(scene_scale=cameras.extent)
    images = data.images.float() / 255
    order: list[int] = []
    for iteration in range(iterations):
        order = order or torch.randperm(len(images)).tolist()
        frame = order.pop()
        for group in optimisers["means"].param_groups:
            group["lr"] = rates["means"] * 0.01 ** (iteration / iterations)
        degree = min(SH_DEGREE, iteration * (SH_DEGREE + 1) // min(iterations, 4000))
        drawn, alpha, normals, normals_of_depth, distortion, _, info = cameras.draw(splats, frame, degree)
        strategy.step_pre_backward(splats, optimisers, state, iteration, info)
        found, wanted = drawn[..., :3].permute(0, 3, 1, 2), images[frame][None].permute(0, 3, 1, 2)
        loss = (1 - DSSIM) * (found - wanted).abs().mean() + DSSIM * (1 - similarity(found, wanted))
        if iteration >= NORMAL_FROM * iterations:
            wanted_normals = (normals_of_depth * alpha.detach()).reshape(normals.shape)
            loss = loss + NORMAL_WEIGHT * (1 - (normals * wanted_normals).sum(-1)).mean()
        if iteration >= DISTORTION_FROM * iterations:
            loss = loss + DISTORTION_WEIGHT * distortion.mean()
        loss.backward()
        for optimiser in optimisers.values():
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)
        strategy.step_post_backward(splats, optimisers, state, iteration, info, packed=False)
    torch.cuda.synchronize()
    return splats


def begin(data: dataset.Dataset, cameras: Cameras, args: argparse.Namespace) -> torch.nn.ParameterDict:
    """A splat at each of COLMAP's points, with the colour that its first observer shows."""
    scene = read_scene(args.capture / "region" / "transforms.json")
    points = read_points(args.capture / "region" / "points.npz", scene)
    means = torch.tensor((points.xyz - scene.center) / scene.radius, dtype=torch.float32, device=DEVICE)
    observers = torch.tensor(points.observers[:, 0].astype(np.int64), device=DEVICE).clamp(min=0)
    colours = torch.empty_like(means)
    for frame in range(len(data.images)):
        of_frame = observers == frame
        x, y, _ = cameras.project(means[of_frame], frame)
        column, row = x.long().clamp(0, cameras.width - 1), y.long().clamp(0, cameras.height - 1)
        colours[of_frame] = data.images[frame, row, column].float() / 255
    near = torch.cdist(means, means).topk(4, largest=False).values[:, 1:]
    scale = near.square().mean(1).sqrt().clamp(1e-4, 0.2)
    count = len(means)
    harmonics = torch.zeros(count, (SH_DEGREE + 1) ** 2, 3, device=DEVICE)
    harmonics[:, 0] = (colours - 0.5) / SH_BASE
    values = {
        "means": means,
        "scales": scale.log()[:, None].repeat(1, 3),
        "quats": torch.randn(count, 4, device=DEVICE),
        "opacities": torch.full((count,), math.log(0.1 / 0.9), device=DEVICE),
        "sh0": harmonics[:, :1],
        "shN": harmonics[:, 1:],
    }
    return torch.nn.ParameterDict({key: torch.nn.Parameter(value.clone()) for key, value in values.items()})


def similarity(found: Tensor, wanted: Tensor) -> Tensor:
    """SSIM (Wang et al. 2004) with its window of 11 pixels and its constants 0.01^2 and 0.03^2; images (1, 3, h, w)."""
    window = torch.exp(-((torch.arange(11, device=DEVICE) - 5.0) ** 2) / (2 * 1.5**2))
    window = (window / window.sum()).view(1, 1, 11, 1)

    def blur(image: Tensor) -> Tensor:
        channels = image.shape[1]
        image = F.conv2d(image, window.expand(channels, 1, 11, 1), padding=(5, 0), groups=channels)
        across = window.transpose(2, 3).expand(channels, 1, 1, 11)
        return F.conv2d(image, across, padding=(0, 5), groups=channels)

    stack = torch.cat([found, wanted, found * found, wanted * wanted, found * wanted], 1)
    mean_a, mean_b, square_a, square_b, product = blur(stack).split(3, 1)
    variance_a, variance_b = square_a - mean_a * mean_a, square_b - mean_b * mean_b
    covariance = product - mean_a * mean_b
    above = (2 * mean_a * mean_b + 1e-4) * (2 * covariance + 9e-4)
    return (above / ((mean_a * mean_a + mean_b * mean_b + 1e-4) * (variance_a + variance_b + 9e-4))).mean()


def render_depths(splats: torch.nn.ParameterDict, cameras: Cameras) -> Tensor:
    """Median depths (n, height, width); 0 where less than half of a ray is stopped."""
    depths = []
    for frame in range(len(cameras.cam_from_world)):
        _, alpha, _, _, _, median, _ = cameras.draw(splats, frame, SH_DEGREE)
        shape = (cameras.height, cameras.width)
        depths.append(torch.where(alpha.reshape(shape) > 0.5, median.reshape(shape), 0))
    return torch.stack(depths)


def fuse(depths: Tensor, cameras: Cameras, resolution: int) -> Mesh:
    """The mesh of the mean truncated distance, in the cube round the region. What no depth tells has no surface."""
    voxel = 2 / resolution
    axis = torch.linspace(-1, 1, resolution + 1, device=DEVICE)
    values = torch.empty([resolution + 1] * 3, device=DEVICE)
    known = torch.empty_like(values, dtype=torch.bool)
    for first in range(0, resolution + 1, 16):
        part = axis[first : first + 16]
        points = torch.stack(torch.meshgrid(part, axis, axis, indexing="ij"), -1).view(-1, 3)
        total, weight = torch.zeros(len(points), device=DEVICE), torch.zeros(len(points), device=DEVICE)
        for frame, depth in enumerate(depths):
            x, y, far = cameras.project(points, frame)
            shown = (far > 0) & (x >= 0) & (x < cameras.width) & (y >= 0) & (y < cameras.height)
            seen = depth[y.long().clamp(0, cameras.height - 1), x.long().clamp(0, cameras.width - 1)]
            distance = (seen - far) / (TRUNCATION * voxel)
            shown &= (seen > 0) & (distance > -1)
            total += torch.where(shown, distance.clamp(max=1), 0)
            weight += shown
        shape = (len(part), resolution + 1, resolution + 1)
        values[first : first + 16] = (total / weight.clamp(min=1)).view(shape)
        known[first : first + 16] = (weight > 0).view(shape)
    # scikit-image asks the mask about the last corner of a cell alone. The others must be known too, or the edge of
    # what is known becomes a surface.
    whole = torch.zeros_like(known)
    whole[1:, 1:, 1:] = known.unfold(0, 2, 1).unfold(1, 2, 1).unfold(2, 2, 1).flatten(3).all(-1)
    found = marching_cubes(values.cpu().numpy(), 0.0, mask=whole.cpu().numpy())
    vertices = torch.tensor(found[0].copy(), dtype=torch.float64, device=DEVICE) * voxel - 1
    faces = torch.tensor(found[1].astype(np.int64), device=DEVICE)
    return Mesh(vertices, faces)


def write(mesh: Mesh, args: argparse.Namespace, path: Path) -> None:
    """Clean the mesh as ours is cleaned, and write it in the world of the poses."""
    region, poses = args.capture / "region", args.capture / "poses"
    options = argparse.Namespace(
        checkpoint=path,
        transforms=region / "transforms.json",
        images=poses / "images.tar",
        masks=poses / "masks.tar",
        resolution=args.resolution,
        crop="none",
        region=region / "region.json",
        min_component=0.01,
        unseen="remove",
    )
    scene = read_scene(options.transforms)
    field: Any = SimpleNamespace(center=torch.tensor(scene.center), radius=scene.radius)
    photographs = extract.read_photographs(options, field, scene)
    grey = torch.full_like(mesh.vertices, 0.5)  # where no photograph sees the surface; nothing here looks at colours
    raw = extract.Raw(mesh, grey, "fused depths", 0)
    cleaned = extract.clean(raw, field, photographs, options, crop.read(options, scene))
    path.parent.mkdir(parents=True, exist_ok=True)
    vertices = (cleaned.mesh.vertices * scene.radius + torch.tensor(scene.center, device=DEVICE)).cpu().numpy()
    colours = (cleaned.colours.clamp(0, 1) * 255).round().byte()
    ply.write(path, vertices, *(each.cpu().numpy() for each in (cleaned.mesh.faces, colours, cleaned.frames)))


if __name__ == "__main__":
    main()
