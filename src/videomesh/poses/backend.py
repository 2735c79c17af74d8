"""The two ways to run COLMAP: its Python package in this process, or its program."""

from pathlib import Path
from typing import Mapping, Optional, Protocol, Sequence, Tuple

from videomesh.errors import UserError
from videomesh.poses.device import Device
from videomesh.poses.frames import Group

# The image as it is; -1 doubles it, finds three times as many features and takes three times as long. It is worth it
# where few are left: of a turntable's tractor at 320 x 240 pixels, 151 features a frame become 582, and 3 of 32 frames
# with a pose become 32.
FIRST_OCTAVE, FIRST_OCTAVE_MASKED = 0, -1


class Backend(Protocol):
    """COLMAP on one folder: frames are read from folder/frames, features and matches are kept in a database there.

    All methods raise UserError with COLMAP's own words if COLMAP fails.
    """

    version: str  # "pycolmap 4.1.1" or "colmap 3.8"
    device: Device

    def extract(self, groups: Sequence[Group], max_image_size: int, max_features: int, masks: Optional[Path]) -> None:
        """Find SIFT features in all frames, with one camera for each group. What the database held is forgotten.

        masks: a folder with a mask of each frame (000012.jpg.png of 000012.jpg), black where features do not count.
        """

    def match(self, pairs: Sequence[Tuple[str, str]]) -> None:
        """Match the pairs of frames and verify them geometrically. COLMAP skips pairs that were matched before."""

    def map(
        self, models: Path, options: Mapping[str, float], start: Optional[Path] = None, in_parts: bool = False
    ) -> None:
        """Incremental mapping: writes models/0, models/1 ... in no useful order, or none if no two frames fit.

        start: a model to which frames are added; what it has stays as it is.
        in_parts: many frames may be mapped in parts first, side by side on the cores.
        """

    def triangulate(self, model: Path, output: Path, options: Mapping[str, float]) -> None:
        """Write the model with points from the matches to the folder output. Poses and cameras stay as they are."""

    def adjust(self, model: Path, output: Path) -> None:
        """Bundle adjustment of poses, points, focal lengths and distortion: writes the model to the folder output."""

    def undistort(self, model: Path, output: Path) -> None:
        """Without lens distortion: write the model's images to output/images, the model (PINHOLE) to output/sparse."""


def create_backend(name: str, folder: Path, threads: int, seed: int, device: str) -> Backend:
    """`auto` is pycolmap where it can be imported, else the program. device: auto, cpu or gpu.

    Raises UserError if there is no COLMAP, or none for the device.
    """
    if name in ("auto", "pycolmap"):
        try:
            from videomesh.poses.colmap_package import Pycolmap

            return Pycolmap(folder, threads, seed, device)
        except (ImportError, RuntimeError) as error:  # since 4.2, it raises the latter where a library is missing
            reason = f"the Python package pycolmap cannot be used ({error.__cause__ or error})"
            if name == "pycolmap":
                raise UserError(
                    f"{reason}; install it (pip install pycolmap) and the library that it misses, or set "
                    "poses.backend to colmap, which is COLMAP's program"
                )
            if not isinstance(error, ModuleNotFoundError):  # it is there, and somebody counts on it
                print(f"{reason}; COLMAP's program takes its place", flush=True)
    from videomesh.poses.colmap_program import Colmap

    return Colmap(folder, threads, seed, device)
