"""Structure from motion by COLMAP's command-line program, 3.8 to 4.x.

Python 3.8 and the standard library only: it also runs inside the image docker.io/chenhsuanlin/colmap:3.8.
"""

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Dict, List, Mapping, Optional, Sequence, Tuple, Union

from videomesh.children import child
from videomesh.errors import UserError
from videomesh.gpus import count_gpus
from videomesh.poses.backend import FIRST_OCTAVE, FIRST_OCTAVE_MASKED
from videomesh.poses.database import find_lost_features, find_lost_matches
from videomesh.poses.device import Device
from videomesh.poses.frames import Group

# Options that COLMAP renamed: each value is given under every name that the program's help lists.
# 3.8 names: `colmap COMMAND -h`; 4.x names: src/colmap/controllers/{base_,}option_manager.cc at tag 4.1.1.
RENAMED: Dict[str, Tuple[str, ...]] = {
    "random_seed": ("random_seed", "default_random_seed", "TwoViewGeometry.random_seed", "Mapper.random_seed"),
    "Extraction.use_gpu": ("SiftExtraction.use_gpu", "FeatureExtraction.use_gpu"),
    "Extraction.num_threads": ("SiftExtraction.num_threads", "FeatureExtraction.num_threads"),
    "Extraction.max_image_size": ("SiftExtraction.max_image_size", "FeatureExtraction.max_image_size"),
    "Matching.use_gpu": ("SiftMatching.use_gpu", "FeatureMatching.use_gpu"),
    "Matching.num_threads": ("SiftMatching.num_threads", "FeatureMatching.num_threads"),
    "Mapper.fix_existing_frames": ("Mapper.fix_existing_images", "Mapper.fix_existing_frames"),
    "Mapper.ba_global_frames_ratio": ("Mapper.ba_global_images_ratio", "Mapper.ba_global_frames_ratio"),
}


class Colmap:
    """A Backend."""

    def __init__(self, folder: Path, threads: int, seed: int, device: str) -> None:
        program = shutil.which("colmap")
        if program is None:
            raise UserError(
                "COLMAP's program `colmap` is not on PATH; install it (Debian, Ubuntu: apt install colmap), or install "
                "the Python package (pip install pycolmap) and set poses.backend to pycolmap"
            )
        self._program = program
        self._frames = folder / "frames"
        self._database = folder / "database.db"
        self._pairs = folder / "pairs.txt"
        self._list = folder / "frames.txt"
        self._log = folder / "colmap.log"
        self._threads = threads
        self._seed = seed
        # With a GUI and no display, COLMAP dies unless Qt draws nowhere (colmap issues 45, 824, 1431). It leaves
        # log files of its own in TMPDIR; here they vanish with the folder.
        self._environment = {**os.environ, "QT_QPA_PLATFORM": "offscreen", "TMPDIR": str(folder)}
        banner = self._help()
        version = re.search(r"COLMAP (\d[\w.]*)", banner)
        if version is None:
            raise UserError(f"{program}: `colmap -h` names no version; it printed: {_last_lines(banner)}")
        self.version = f"colmap {version.group(1)}"
        self.device = Device(device, find_lack(banner))

    def extract(self, groups: Sequence[Group], max_image_size: int, max_features: int, masks: Optional[Path]) -> None:
        frames = sum(len(group.names) for group in groups)
        self.device.run(
            lambda: self._extract(groups, max_image_size, max_features, masks),
            lambda: find_lost_features(self._database, frames),
        )

    def _extract(self, groups: Sequence[Group], max_image_size: int, max_features: int, masks: Optional[Path]) -> None:
        self._database.unlink(missing_ok=True)
        for group in groups:
            paths: Dict[str, Union[str, Path]] = {
                "database_path": self._database,
                "image_path": self._frames,
                "ImageReader.camera_model": group.given.model if group.given else "SIMPLE_RADIAL",
            }
            if len(groups) > 1:
                self._list.write_text("".join(f"{name}\n" for name in group.names))
                paths["image_list_path"] = self._list
            if group.given:
                paths["ImageReader.camera_params"] = ",".join(map(repr, group.given.params))
            if masks:
                paths["ImageReader.mask_path"] = masks
            self._run(
                "feature_extractor",
                paths,
                {
                    "ImageReader.single_camera": 1,
                    "Extraction.max_image_size": max_image_size,
                    "SiftExtraction.max_num_features": max_features,
                    "SiftExtraction.first_octave": FIRST_OCTAVE_MASKED if masks else FIRST_OCTAVE,
                    "Extraction.use_gpu": int(self.device.gpu),
                    "Extraction.num_threads": self._threads,
                },
            )

    def match(self, pairs: Sequence[Tuple[str, str]]) -> None:
        self._pairs.write_text("".join(f"{first} {second}\n" for first, second in pairs))
        self.device.run(
            lambda: self._run(
                "matches_importer",
                {"database_path": self._database, "match_list_path": self._pairs, "match_type": "pairs"},
                {"Matching.use_gpu": int(self.device.gpu), "Matching.num_threads": self._threads},
            ),
            lambda: find_lost_matches(self._database),
        )

    def map(
        self, models: Path, options: Mapping[str, float], start: Optional[Path] = None, in_parts: bool = False
    ) -> None:
        # Never in parts: 3.8 adjusts no model to which it adds no frame, so the parts would stay as they were merged.
        values: Dict[str, float] = {f"Mapper.{name}": value for name, value in options.items()}
        values["Mapper.num_threads"] = self._threads
        paths = {"database_path": self._database, "image_path": self._frames, "output_path": models}
        if start:
            # Then COLMAP writes no numbered folder but to the output itself.
            paths.update({"input_path": start, "output_path": models / "0"})
            (models / "0").mkdir()
            values["Mapper.fix_existing_frames"] = 1
        try:
            self._run("mapper", paths, values)
        except UserError:
            if "failed to create sparse model" not in self._log.read_text(errors="replace"):
                raise

    def triangulate(self, model: Path, output: Path, options: Mapping[str, float]) -> None:
        values: Dict[str, float] = {f"Mapper.{name}": value for name, value in options.items()}
        values.update({"clear_points": 1, "refine_intrinsics": 0, "Mapper.num_threads": self._threads})
        self._run(
            "point_triangulator",
            {
                "database_path": self._database,
                "image_path": self._frames,
                "input_path": model,
                "output_path": output,
            },
            values,
        )

    def adjust(self, model: Path, output: Path) -> None:
        self._run("bundle_adjuster", {"input_path": model, "output_path": output}, {})

    def undistort(self, model: Path, output: Path) -> None:
        output.mkdir()
        self._run(
            "image_undistorter",
            {"image_path": self._frames, "input_path": model, "output_path": output, "output_type": "COLMAP"},
            {"num_threads": self._threads},
        )

    def _run(self, command: str, paths: Mapping[str, Union[str, Path]], values: Mapping[str, float]) -> None:
        line = [self._program, command]
        for name, path in paths.items():
            line += [f"--{name}", str(path)]
        known = self._help(command)
        for option, value in {"random_seed": self._seed, **values}.items():
            for name in RENAMED.get(option, (option,)):
                if f"--{name} " in known:
                    line += [f"--{name}", str(value)]
        environment, errors = self._environment, subprocess.STDOUT
        with open(self._log, "w") as log, child(line, stdout=log, stderr=errors, env=environment) as process:
            code = process.wait()
        if code < 0:
            raise UserError(
                f"`colmap {command}` was killed by signal {-code}, usually because memory ran out; use a machine with "
                "more memory, fewer frames (frames.target), or a smaller poses.max_image_size"
            )
        if code > 0:
            output = self._log.read_text(errors="replace")
            raise UserError(f"`colmap {command}` failed with exit code {code}; its last lines:\n{_last_lines(output)}")

    def _help(self, *command: str) -> str:
        """What `colmap COMMAND -h` prints: on standard output in 3.8, through the log on standard error in 4.x."""
        result = subprocess.run(
            [self._program, *command, "-h"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=self._environment
        )
        return result.stdout.decode(errors="replace")


def find_lack(banner: str) -> str:
    """Why a COLMAP that introduces itself so cannot use a GPU here; "" if it can."""
    if count_gpus() == 0:
        return "no NVIDIA GPU can be seen"
    # Builds without CUDA say "without CUDA" at the same place.
    return "" if "with CUDA" in banner else "this COLMAP is built without CUDA"


def _last_lines(text: str, count: int = 8) -> str:
    lines: List[str] = [line.rstrip() for line in text.splitlines() if line.strip()]
    return "\n".join(f"  {line}" for line in lines[-count:]) or "  (nothing)"
