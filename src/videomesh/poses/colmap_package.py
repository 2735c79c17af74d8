"""Structure from motion by COLMAP's Python package pycolmap, 4.x, inside this process."""

from contextlib import contextmanager
from pathlib import Path
from typing import Iterator, Mapping, Optional, Sequence, Tuple

import pycolmap

from videomesh.errors import UserError
from videomesh.gpus import count_gpus
from videomesh.poses import parts
from videomesh.poses.backend import FIRST_OCTAVE, FIRST_OCTAVE_MASKED
from videomesh.poses.database import find_lost_features, find_lost_matches
from videomesh.poses.device import Device
from videomesh.poses.frames import Group


class Pycolmap:
    """A Backend."""

    version = f"pycolmap {pycolmap.__version__}"

    def __init__(self, folder: Path, threads: int, seed: int, device: str) -> None:
        self._frames = folder / "frames"
        self._database = folder / "database.db"
        self._pairs = folder / "pairs.txt"
        self._threads = threads
        self._seed = seed
        pycolmap.set_random_seed(seed)
        pycolmap.logging.minloglevel = pycolmap.logging.FATAL.value  # what goes wrong comes back as exceptions
        self.device = Device(device, find_lack())

    def extract(self, groups: Sequence[Group], max_image_size: int, max_features: int, masks: Optional[Path]) -> None:
        frames = sum(len(group.names) for group in groups)
        self.device.run(
            lambda: self._extract(groups, max_image_size, max_features, masks),
            lambda: find_lost_features(self._database, frames),
        )

    def _extract(self, groups: Sequence[Group], max_image_size: int, max_features: int, masks: Optional[Path]) -> None:
        options = pycolmap.FeatureExtractionOptions()
        options.num_threads = self._threads
        options.max_image_size = max_image_size
        options.sift.max_num_features = max_features
        options.sift.first_octave = FIRST_OCTAVE_MASKED if masks else FIRST_OCTAVE
        single = pycolmap.CameraMode.SINGLE
        self._database.unlink(missing_ok=True)
        with _errors("feature extraction"):
            pycolmap.Database.open(self._database).close()  # creates it
            # Images get their ids here, in the order of their names. extract_features alone numbers them in the order
            # in which its threads finish, and the models would differ from run to run.
            for group in groups:
                reader = pycolmap.ImageReaderOptions()
                reader.camera_model = group.given.model if group.given else "SIMPLE_RADIAL"
                reader.camera_params = ",".join(map(repr, group.given.params)) if group.given else ""
                if masks:
                    reader.mask_path = masks
                pycolmap.import_images(
                    self._database, self._frames, camera_mode=single, image_names=group.names, options=reader
                )
                pycolmap.extract_features(
                    self._database,
                    self._frames,
                    image_names=group.names,
                    camera_mode=single,
                    reader_options=reader,
                    extraction_options=options,
                    device=self._get_device(),
                )

    def match(self, pairs: Sequence[Tuple[str, str]]) -> None:
        self._pairs.write_text("".join(f"{first} {second}\n" for first, second in pairs))
        matching = pycolmap.FeatureMatchingOptions()
        matching.num_threads = self._threads
        pairing = pycolmap.ImportedPairingOptions()
        pairing.match_list_path = self._pairs
        verification = pycolmap.TwoViewGeometryOptions()
        verification.ransac.random_seed = self._seed

        def match() -> None:
            with _errors("matching"):
                pycolmap.match_image_pairs(
                    self._database,
                    matching_options=matching,
                    pairing_options=pairing,
                    verification_options=verification,
                    device=self._get_device(),
                )

        self.device.run(match, lambda: find_lost_matches(self._database))

    def _get_device(self) -> pycolmap.Device:
        """Never auto, by which a build with CUDA fails where there is no GPU."""
        return pycolmap.Device.cuda if self.device.gpu else pycolmap.Device.cpu

    def map(
        self, models: Path, options: Mapping[str, float], start: Optional[Path] = None, in_parts: bool = False
    ) -> None:
        pipeline = parts.get_pipeline(options, self._threads, self._seed)
        pipeline.fix_existing_frames = start is not None
        with _errors("mapping"):
            if (
                in_parts
                and self._threads >= parts.MIN_THREADS
                and len(list(self._frames.iterdir())) >= parts.MIN_FRAMES
            ):
                folder = models.with_name(f"{models.name}-parts")
                start = parts.map_parts(self._database, self._frames, folder, options, self._threads, self._seed)
            if start:  # then COLMAP writes no numbered folder but to the output itself
                models = models / "0"
                models.mkdir()
            # With the parts' model, it adjusts the whole and adds the frames that are missing.
            pycolmap.incremental_mapping(self._database, self._frames, models, options=pipeline, input_path=start or "")

    def triangulate(self, model: Path, output: Path, options: Mapping[str, float]) -> None:
        pipeline = pycolmap.IncrementalPipelineOptions()
        pipeline.random_seed = self._seed
        pipeline.num_threads = self._threads
        for name, value in options.items():
            if name.startswith("tri_"):
                setattr(pipeline.triangulation, name[4:], value)
            else:
                setattr(pipeline.mapper, name, value)
        with _errors("triangulation"):
            reconstruction = pycolmap.Reconstruction(model)
            pycolmap.triangulate_points(
                reconstruction, self._database, self._frames, output, clear_points=True, options=pipeline
            ).write(output)

    def adjust(self, model: Path, output: Path) -> None:
        with _errors("bundle adjustment"):
            reconstruction = pycolmap.Reconstruction(model)
            options = pycolmap.BundleAdjustmentOptions()
            options.print_summary = False
            options.ceres.solver_options.num_threads = self._threads
            config = pycolmap.BundleAdjustmentConfig()
            for image_id in reconstruction.reg_image_ids():
                config.add_image(image_id)
            config.fix_gauge(pycolmap.BundleAdjustmentGauge.TWO_CAMS_FROM_WORLD)
            # pycolmap.bundle_adjustment does the same, but sets the level of the log back.
            pycolmap.create_default_bundle_adjuster(options, config, reconstruction).solve()
            reconstruction.update_point_3d_errors()
            reconstruction.write(output)

    def undistort(self, model: Path, output: Path) -> None:
        with _errors("undistortion"):
            pycolmap.undistort_images(output, model, self._frames, num_threads=self._threads)


def find_lack() -> str:
    """Why this pycolmap cannot use a GPU here; "" if it can."""
    if count_gpus() == 0:
        return "no NVIDIA GPU can be seen"
    if pycolmap.has_cuda:
        return ""
    return "this pycolmap is built without CUDA; install the extra gpu in place of it (docs/how-it-works.md)"


@contextmanager
def _errors(step: str) -> Iterator[None]:
    try:
        yield
    except (RuntimeError, ValueError, MemoryError) as error:
        raise UserError(f"COLMAP's {step} failed: {error}")
