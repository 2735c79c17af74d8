"""A stand-in for COLMAP 4.x's command-line program, of which no binary can be installed in the tests.

It lists and accepts options of COLMAP 4.1.1 as its source registers them (src/colmap/controllers/option_manager.cc and
base_option_manager.cc, src/colmap/exe/*.cc at that tag), refuses all others, and does the work with pycolmap, which is
built from the same source. Each call is appended to $COLMAP_CALLS as a line of JSON. $COLMAP_BANNER replaces the first
line of `colmap -h`.
"""

import json
import os
import sys
from pathlib import Path

import pycolmap

COMMON = "default_random_seed log_target log_path log_level log_severity log_color project_path"
OPTIONS = {
    "feature_extractor": """database_path image_path camera_mode image_list_path descriptor_normalization
        ImageReader.mask_path ImageReader.camera_params ImageReader.camera_model
        ImageReader.single_camera ImageReader.single_camera_per_folder
        ImageReader.single_camera_per_image ImageReader.default_focal_length_factor FeatureExtraction.type
        FeatureExtraction.num_threads FeatureExtraction.use_gpu FeatureExtraction.gpu_index
        FeatureExtraction.max_image_size SiftExtraction.max_num_features SiftExtraction.first_octave
        SiftExtraction.num_octaves AlikedExtraction.max_num_features""",
    "matches_importer": """database_path match_list_path match_type FeatureMatching.type FeatureMatching.num_threads
        FeatureMatching.use_gpu FeatureMatching.gpu_index FeatureMatching.guided_matching
        FeatureMatching.max_num_matches SiftMatching.max_ratio SiftMatching.max_distance
        TwoViewGeometry.min_num_inliers TwoViewGeometry.max_error TwoViewGeometry.random_seed""",
    "mapper": """database_path image_path input_path output_path Mapper.min_num_matches Mapper.multiple_models
        Mapper.min_model_size Mapper.num_threads Mapper.random_seed Mapper.ba_global_frames_ratio
        Mapper.ba_global_points_ratio Mapper.ba_global_ignore_redundant_points3D Mapper.ba_use_gpu
        Mapper.ba_global_max_refinements Mapper.ba_local_num_images Mapper.ba_local_max_num_iterations
        Mapper.ba_local_max_refinements
        Mapper.init_min_num_inliers Mapper.init_min_tri_angle Mapper.abs_pose_min_num_inliers
        Mapper.abs_pose_min_inlier_ratio Mapper.image_list_path""",
    "point_triangulator": """database_path image_path input_path output_path clear_points refine_intrinsics
        Mapper.num_threads Mapper.random_seed Mapper.filter_max_reproj_error Mapper.tri_complete_max_reproj_error
        Mapper.tri_merge_max_reproj_error""",
    "bundle_adjuster": """input_path output_path BundleAdjustment.refine_focal_length
        BundleAdjustment.refine_principal_point BundleAdjustmentCeres.max_num_iterations""",
    "image_undistorter": """image_path input_path output_path output_type image_list_path copy_policy blank_pixels
        max_image_size jpeg_quality num_threads""",
}


def main(command: str, *arguments: str) -> None:
    with open(os.environ["COLMAP_CALLS"], "a") as calls:
        print(json.dumps([command, *arguments]), file=calls)
    if command == "-h":
        banner = "COLMAP 4.1.1 (Commit 01234567 on 2026-01-01 without CUDA)"
        print(os.environ.get("COLMAP_BANNER", banner) + "\nUsage:\n  colmap [command] [options]")
    elif arguments == ("-h",):
        lines = "".join(f"  --{name} arg (=0)\n" for name in f"{COMMON} {OPTIONS[command]}".split())
        print(
            f"I20260101 00:00:00 1 base_option_manager.cc:227] Options can ...\n  -h [ --help ]\n{lines}",
            file=sys.stderr,
        )
    else:
        given = {name[2:]: value for name, value in zip(arguments[::2], arguments[1::2], strict=True)}
        unknown = set(given) - set(f"{COMMON} {OPTIONS[command]}".split())
        if unknown:
            sys.exit(f"E20260101 00:00:00 1 option_manager.cc:1] Failed to parse options: unrecognised {unknown}")
        COMMANDS[command](given)


def fill(target: object, prefix: str, given: dict) -> None:
    for option, value in given.items():
        group, _, name = option.rpartition(".")
        if group == prefix and hasattr(target, name):
            setattr(target, name, type(getattr(target, name))(float(value)))


def feature_extractor(given: dict) -> None:
    if given["FeatureExtraction.use_gpu"] == "1":
        sys.exit("F20260101 00:00:00 1 cuda.cc:1] no kernel image is available for execution on the device")
    reader = pycolmap.ImageReaderOptions()
    options = pycolmap.FeatureExtractionOptions()
    fill(options, "FeatureExtraction", given)
    fill(options.sift, "SiftExtraction", given)
    reader.camera_model = given["ImageReader.camera_model"]
    reader.camera_params = given.get("ImageReader.camera_params", "")
    if "ImageReader.mask_path" in given:
        reader.mask_path = given["ImageReader.mask_path"]
    names = Path(given["image_list_path"]).read_text().split() if "image_list_path" in given else []
    mode = pycolmap.CameraMode.SINGLE if given["ImageReader.single_camera"] == "1" else pycolmap.CameraMode.AUTO
    pycolmap.extract_features(
        given["database_path"],
        given["image_path"],
        image_names=names,
        camera_mode=mode,
        reader_options=reader,
        extraction_options=options,
    )


def matches_importer(given: dict) -> None:
    options = pycolmap.FeatureMatchingOptions()
    fill(options, "FeatureMatching", given)
    pairing = pycolmap.ImportedPairingOptions()
    pairing.match_list_path = given["match_list_path"]
    pycolmap.match_image_pairs(given["database_path"], matching_options=options, pairing_options=pairing)


def mapper(given: dict) -> None:
    options = pycolmap.IncrementalPipelineOptions()
    fill(options, "Mapper", given)
    fill(options.mapper, "Mapper", given)
    models = pycolmap.incremental_mapping(
        given["database_path"], given["image_path"], given["output_path"], options=options
    )
    if not models:
        sys.exit("E20260101 00:00:00 1 sfm.cc:459] failed to create sparse model")


def point_triangulator(given: dict) -> None:
    assert (given["clear_points"], given["refine_intrinsics"]) == ("1", "0")
    options = pycolmap.IncrementalPipelineOptions()
    fill(options.mapper, "Mapper", given)
    triangulation = {name.replace("Mapper.tri_", "Mapper."): value for name, value in given.items() if "tri_" in name}
    fill(options.triangulation, "Mapper", triangulation)
    model = pycolmap.Reconstruction(given["input_path"])
    pycolmap.triangulate_points(
        model, given["database_path"], given["image_path"], given["output_path"], options=options
    ).write(given["output_path"])


def bundle_adjuster(given: dict) -> None:
    model = pycolmap.Reconstruction(given["input_path"])
    pycolmap.bundle_adjustment(model)
    model.write(given["output_path"])


def image_undistorter(given: dict) -> None:
    pycolmap.undistort_images(given["output_path"], given["input_path"], given["image_path"])


COMMANDS = {
    "feature_extractor": feature_extractor,
    "matches_importer": matches_importer,
    "mapper": mapper,
    "point_triangulator": point_triangulator,
    "bundle_adjuster": bundle_adjuster,
    "image_undistorter": image_undistorter,
}

if __name__ == "__main__":
    main(*sys.argv[1:])
