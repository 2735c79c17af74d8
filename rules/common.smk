# Functions that the rules share: the checked configuration, input functions, and what makes a stage stale.

import functools
import hashlib
import json
import math
import os
import sys
from pathlib import Path

from snakemake.common import async_run
from snakemake.dag import DAG

CHECKOUT = Path(workflow.current_basedir.get_path_or_uri(secret_free=True)).resolve().parent
sys.path.insert(0, str(CHECKOUT / "src"))
os.environ.update(
    # Where the rules' commands find their programs. A remote job has them in its working folder instead.
    VIDEOMESH=str(CHECKOUT),
    # `.venv/bin/snakemake` works without activating the environment.
    PATH=os.pathsep.join([str(Path(sys.executable).parent), os.getenv("PATH", os.defpath)]),
)

from videomesh import staleness
from videomesh.accept import STAGES
from videomesh.configuration.files import check_files
from videomesh.configuration.load import find_unused_regions, load_scenes
from videomesh.errors import ConfigurationError
from videomesh.expected import get_expected_seconds, get_gpu_memory
from videomesh.photos import find_files, is_ingested
from videomesh.planning import collect_rarely
from videomesh.sources import get_kind, list_folder, normalize, resolve_path, split_sources


def stop_on_errors(function, *arguments):
    """Only the list of errors, without a traceback, and exit code 1."""
    try:
        return function(*arguments)
    except ConfigurationError as error:
        raise SystemExit(str(error))


if not staleness.keep_order_only(DAG):
    logger.warning(
        "This version of Snakemake plans in a way that this workflow does not know. If the gate decides anew, other "
        "stages that are stale may be left for the next run: run the same command until nothing is to be done."
    )

collect_rarely(DAG)

# Snakemake itself names neither file nor line of an error. A workflow that uses this one as a module hands its
# configuration over and needs no such file; with --configfile alone it may be missing too.
CONFIG = Path("config/config.yaml")
if not workflow.modifier.skip_configfile and (CONFIG.exists() or not workflow.config_settings.configfiles):
    stop_on_errors(check_files, [CONFIG])


configfile: "config/config.yaml"


SCENES = stop_on_errors(load_scenes, config, workflow.configfiles)
for warning in find_unused_regions(SCENES):
    logger.warning(warning)


def load_regions():
    """What config/regions/SCENE.json says of the scenes that have one. Its crop takes the place of the setting."""
    if not any(Path(f"config/regions/{scene}.json").exists() for scene in SCENES):
        return {}
    from videomesh.region.by_hand import load_by_hand  # here, since most plans need none of its libraries

    found, warnings = stop_on_errors(load_by_hand, SCENES)
    for warning in warnings:
        logger.warning(warning)
    for scene, by_hand in found.items():
        if by_hand.crop:
            SCENES[scene]["crop"] = by_hand.crop
    return found


REGIONS = load_regions()


# A scene that has begun comes before one that has not: a mesh sooner, and fewer files that wait for their next step.
PRIORITY = {stage: place for place, stage in enumerate(STAGES)}


SCENE_NAME = "[a-z0-9-]+"


wildcard_constraints:
    scene=SCENE_NAME,
    iteration="[0-9]+",


def get_setting(key):
    """A params function: the value of a dotted configuration key for the scene of the job."""
    *sections, name = key.split(".")

    def get_value(wildcards):
        settings = SCENES[wildcards.scene]
        for section in sections:
            settings = settings[section]
        return settings[name]

    return get_value


def get_global_setting(key):
    """A setting that is the same for all scenes."""
    section, name = key.split(".")
    return next(iter(SCENES.values()))[section][name]


# Neuralangelo's programs find this in place of the package wandb, which no import statement of ours tells.
STANDINS = ["src/neuralangelo_engine/standins/wandb.py"]


def get_container(name):
    """The container image of a step, as Snakemake writes it."""
    return f"docker://{get_global_setting(f'containers.{name}')}"


def get_container_in_use(name):
    """The image of a step as a parameter, if the step runs in it; without containers it makes nothing stale.

    Containers are for --software-deployment-method apptainer, and for jobs elsewhere, which need a default storage.
    Snakemake itself compares the images of the former only.
    """
    methods = map(str, workflow.deployment_settings.deployment_method)
    used = "apptainer" in methods or has_storage()
    return get_global_setting(f"containers.{name}") if used else "none"


def get_code(*programs):
    """A checksum over the programs that a rule calls. Snakemake looks only at the command itself."""
    return staleness.get_code(CHECKOUT, *programs)


def get_training_code(*programs):
    """The same for a training. What looks at its surface counts only where that may end it (train.stop)."""
    looks = ["src/videomesh/meshing/change.py"]
    code = {
        "never": staleness.get_code(CHECKOUT, *programs, idle=looks),
        "converged": staleness.get_code(CHECKOUT, *programs),
    }
    return lambda wildcards: code[SCENES[wildcards.scene]["train"]["stop"]]


def get_scenes_of(engine, **own):
    """A regular expression for the scenes whose engine it is; one that nothing matches if there are none.

    own: values that settings of the engine must have. Rules that make the same files share the scenes by them.

    For each file, Snakemake goes through the whole text of the expression. So it names no scene if all have this engine:
    for 10,000 scenes that would take minutes.
    """
    scenes = [
        scene
        for scene, settings in SCENES.items()
        if settings["engine"] == engine and all(settings[engine][key] == value for key, value in own.items())
    ]
    return SCENE_NAME if len(scenes) == len(SCENES) else "|".join(scenes) or "(?!)"


def get_source_files(wildcards):
    """The files of this machine that ingest reads: what a folder has of the scene's kind, else the files themselves."""
    cell = SCENES[wildcards.scene]["video"]
    files = []
    for source in split_sources(cell):
        if "://" in source:
            continue
        if get_source_kind(cell) == "clips" and Path(source).is_dir():
            files += [local(str(video)) for video in list_folder(Path(source))[0]]
        else:
            files += list_local(source)
    return files


def get_bucket_files(wildcards):
    """The sources in S3 storage, which the storage plugin downloads."""
    return [storage.s3(source) for source in split_sources(SCENES[wildcards.scene]["video"]) if is_in_bucket(source)]


def is_in_bucket(source):
    return source.startswith("s3://")


def list_local(path):
    """A file, or those files of a folder that ingest reads."""
    if not Path(path).is_dir():
        return [local(path)]
    return [local(str(file)) for file in sorted(find_files(Path(path))) if is_ingested(file.name)]


def get_sources(wildcards):
    """The cell, in the same form wherever the files lie: a name with umlauts is spelled in two ways on disks."""
    return normalize(SCENES[wildcards.scene]["video"])


def get_source_argument(wildcards, input):
    """The sources as ingest reads them: what comes from a bucket is a file by now.

    Snakemake leaves params that look at the input out of what makes a file stale, so the rule has the cell itself too.
    """
    downloaded = iter(input.bucket)
    sources = split_sources(SCENES[wildcards.scene]["video"])
    return [next(downloaded) if is_in_bucket(source) else source for source in sources]


@functools.lru_cache(maxsize=None)
def get_source_kind(cell):
    return get_kind(cell)


def has_photos(scene):
    """Whether the scene's source is a folder or an archive of photos, not a video."""
    return get_source_kind(SCENES[scene]["video"]) == "photos"


def get_footage(wildcards):
    """What ingest makes of the scene's source: one video, a tar of clips, or a tar of photos."""
    names = {"video": "video.mp4", "clips": "clips.tar", "photos": "photos.tar"}
    return f"resources/videos/{wildcards.scene}/{names[get_source_kind(SCENES[wildcards.scene]['video'])]}"


def get_mask_files(wildcards):
    """The masks that the setting names; none if they come with the photos."""
    masks = SCENES[wildcards.scene]["masks"]
    return list_local(resolve_path(masks)) if has_photos(wildcards.scene) and masks not in ("auto", "ignore") else []


def get_photo_arguments(wildcards):
    """Flags of ingest.py for photos. A video has neither masks nor poses beside it."""
    if not has_photos(wildcards.scene):
        return []
    settings = SCENES[wildcards.scene]
    given = "ignore" if settings["poses"]["given"] == "ignore" else "read"
    return [f"--masks={settings['masks']}", f"--given={given}"]


def get_selection_arguments(wildcards):
    """Flags of frames.py that choose the frames of a video: only those that have an effect make frames stale."""
    frames = SCENES[wildcards.scene]["frames"]
    if frames["downsample"]:
        return ["--downsample", str(frames["downsample"])]
    return ["--target", str(frames["target"])]


def get_region_override(wildcards):
    """A file of Blender's add-on. Its date says nothing, since a crop in it may have changed: its checksum counts."""
    by_hand = REGIONS.get(wildcards.scene)
    return ancient(local(f"config/regions/{wildcards.scene}.json")) if by_hand and by_hand.add_on else []


def get_region_checksum(wildcards):
    by_hand = REGIONS.get(wildcards.scene)
    return by_hand.add_on if by_hand else ""


def get_region_arguments(wildcards):
    """Flags of region.py for a sphere given by hand, in a file or in the configuration."""
    by_hand = REGIONS.get(wildcards.scene)
    if by_hand and (by_hand.add_on or by_hand.region):
        values = [f"--override-values={json.dumps(by_hand.region)}"] if by_hand.region else []
        return ["--override", f"config/regions/{wildcards.scene}.json", *values]
    region = SCENES[wildcards.scene]["region"]
    if region["center"] is None:
        return []
    return [
        f"--center={','.join(map(str, region['center']))}",
        f"--radius={region['radius']}",
    ]


def get_scale_arguments(wildcards):
    """Flags of region.py for a distance that is known."""
    scale = SCENES[wildcards.scene]["scale"]
    if scale["distance"] is None:
        return []
    return [
        f"--scale-distance={scale['distance']}",
        f"--scale-from={scale['from']}",
        f"--scale-to={scale['to']}",
    ]


def get_image_size_arguments(wildcards):
    """Flags of the built-in engine's config for a size given by hand; without, it depends on the machine."""
    size = SCENES[wildcards.scene]["sdfgrid"]["image_size"]
    return [] if size is None else ["--image-size", str(size)]


def get_crop_arguments(wildcards):
    """Flags of an engine's extract that say what to keep: only those that have an effect make the mesh stale."""
    crop = SCENES[wildcards.scene]["crop"]
    arguments = [f"--crop={crop['method']}"]
    if crop["method"] == "sphere":
        arguments += [f"--crop-center={','.join(map(str, crop['center']))}", f"--crop-radius={crop['radius']}"]
    if crop["method"] == "box":
        turned = {key: crop[key] for key in ("center", "size", "rotation") if "size" in crop}
        arguments += [f"--crop-box={json.dumps(turned or crop['box'])}"]
    return arguments


def get_texture_size(wildcards):
    """Longest side of the picture in mesh.glb: 0 for a preview, which is there to be early."""
    settings = SCENES[wildcards.scene]
    return settings["mesh"]["texture_size"] if int(wildcards.iteration) == settings["train"]["iterations"] else 0


def get_for_texture(file):
    """An input function: a file that the picture is made from; none without a picture."""

    def get_path(wildcards):
        return f"results/{wildcards.scene}/{file}" if get_texture_size(wildcards) else []

    return get_path


def get_texture_arguments(wildcards, input):
    names = ("transforms", "images", "masks")
    return [word for name in names if input[name] for word in (f"--{name}", input[name])]


def get_gate_thresholds(wildcards):
    gate = SCENES[wildcards.scene]["gate"]
    return json.dumps({name: limits for name, limits in gate.items() if name != "mode"})


def get_milestones(scene):
    """All iterations of a scene at which a checkpoint and a mesh are kept, ascending; the last one is the result."""
    train = SCENES[scene]["train"]
    return [*train["milestones"], train["iterations"]]


def get_previous(file):
    """An input function: a file of the milestone that this one resumes from; none for the first."""

    def get_path(wildcards):
        before = [m for m in get_milestones(wildcards.scene) if m < int(wildcards.iteration)]
        return f"results/{wildcards.scene}/train/{before[-1]}/{file}" if before else []

    return get_path


def get_resume_arguments(wildcards, input):
    return ["--resume", input.previous] if input.previous else []


def get_neuralangelo_resume_arguments(wildcards, input):
    if not input.previous:
        return []
    return ["--resume", input.previous, "--metrics-before", input.previous_metrics]


def get_stop_arguments(wildcards):
    """Flags of an engine's train that end it early: none has no effect, and so makes nothing stale."""
    stop = SCENES[wildcards.scene]["train"]["stop"]
    return [] if stop == "never" else ["--stop", stop]


def get_neuralangelo_files():
    """The files that Neuralangelo's programs are packed from: none for a download."""
    source = get_global_setting("neuralangelo.source")
    if source is None:
        return []
    return local(source if not Path(source).is_dir() else str(Path(source) / "train.py"))


def get_overrides(wildcards):
    return json.dumps(SCENES[wildcards.scene]["neuralangelo"]["overrides"], sort_keys=True)


def get_stall_minutes(wildcards, input):
    """It takes the input, which it does not need, since Snakemake leaves such params out of what makes a file stale."""
    return SCENES[wildcards.scene]["neuralangelo"]["stall_minutes"]


def get_expected(rule):
    """A resource: seconds that a step may take on a reference machine, for whoever makes quotes and time limits of it."""

    def get_seconds(wildcards):
        return get_expected_seconds(rule, SCENES[wildcards.scene], int(wildcards.get("iteration", 0)))

    return get_seconds


def get_gpu_memory_of_scene(wildcards):
    """A resource: GB that a GPU must have, for whoever chooses a machine."""
    return math.ceil(get_gpu_memory(SCENES[wildcards.scene]))


def get_gpus(wildcards, resources):
    """How many GPUs a job gets, of which no other job gets any. Without one, it runs on the CPU."""
    return resources.get("gpu", 1)


def get_final_mesh(file):
    """An input function: a file of the mesh stage at the scene's last iteration."""

    def get_path(wildcards):
        iterations = SCENES[wildcards.scene]["train"]["iterations"]
        return f"results/{wildcards.scene}/mesh/{iterations}/{file}"

    return get_path


def get_at_milestones(file):
    """An input function: a file of each milestone of the scene."""

    def get_paths(wildcards):
        stage, name = file.split("/")
        return [f"results/{wildcards.scene}/{stage}/{m}/{name}" for m in get_milestones(wildcards.scene)]

    return get_paths


def get_scene_settings(wildcards, input):
    """All settings, for the page to tell. It takes the input so that no setting makes a page stale by itself."""
    return json.dumps(SCENES[wildcards.scene])


def get_all_code(wildcards, input):
    """A checksum over all programs, for the page to tell. It takes the input for the same reason."""
    return get_all_code_once()


@functools.lru_cache(maxsize=None)
def get_all_code_once():
    folders = [CHECKOUT / "scripts", CHECKOUT / "src"]
    return get_code(*(str(file.relative_to(CHECKOUT)) for folder in folders for file in folder.rglob("*.py")))


@functools.lru_cache(maxsize=None)
def get_page_parts():
    """A checksum over what a page consists of beside its data: templates, styles and the script."""
    content = hashlib.sha256()
    for folder in ("assets", "templates"):
        for file in sorted((CHECKOUT / "src/videomesh/report" / folder).glob("[!.]*")):
            content.update(file.name.encode() + file.read_bytes())
    return content.hexdigest()[:16]


def has_storage():
    return workflow.storage_settings.default_storage_provider is not None


FETCHED = []  # copies of stored files, to be removed: Snakemake's next plan would go by their dates


def fetch_stored(scene, names):
    """Copies of those files of a scene that are in the default storage."""
    copies = []
    for name in names:
        path = workflow.modifier.path_modifier.apply_default_storage(f"results/{scene}/{name}")
        stored = path.flags["storage_object"]
        if async_run(stored.managed_exists()):
            copy = stored.local_path()
            if not copy.exists():
                FETCHED.append(copy)
                async_run(stored.managed_retrieve())
            copies.append(copy)
    return copies


def has_only_pages():
    """Whether the run makes pages and nothing else."""
    return set(workflow.dag_settings.targets) == {"report"}


def update_pages():
    """At the end of a run: pages of scenes that are not done, and the page over all. The results stand without them."""
    from videomesh.report.index import update_pages  # here, since most plans need none of its libraries

    if has_only_pages():
        # It may run beside another run. It locks no files, but its end would remove the locks of the other (9.27.1).
        workflow.persistence.unlock = lambda: None
    try:
        update_pages(Path(), SCENES, not has_only_pages(), fetch_stored if has_storage() else None)
    except Exception as error:
        logger.warning(f"The pages in deliver/ could not be brought up to date: {error!r}")
    for copy in FETCHED:
        copy.unlink(missing_ok=True)


@functools.lru_cache(maxsize=None)
def get_watch():
    """It says how the run stands. It and the libraries it needs are for runs only, not for plans."""
    from videomesh.notify import open_notifier
    from videomesh.progress.events import Events
    from videomesh.progress.watch import Watch

    notifier = None if has_only_pages() else open_notifier(logger)
    return Watch(Path(), SCENES, workflow, logger, Events(notifier) if notifier else None)


def get_verdicts():
    return [f"results/{scene}/gate/gate.pass" for scene in SCENES]


def get_meshes():
    files = {scene: ["mesh.ply", "mesh.glb", *get_formats(scene)] for scene in SCENES}
    return [f"deliver/{scene}/{file}" for scene in SCENES for file in files[scene]]


def get_formats(scene):
    return [f"mesh.{suffix}" for suffix in SCENES[scene]["deliver"]["formats"]]


def get_pages():
    return [f"deliver/{scene}/scene.html" for scene in SCENES]


def get_previews():
    """A mesh for each milestone before the last."""
    return [f"deliver/{scene}/previews/{iteration}.glb" for scene in SCENES for iteration in get_milestones(scene)[:-1]]
