"""Which photos come from one camera, how their pixels are turned so that they fit it, and given cameras for them."""

from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple

from PIL import Image

from videomesh.frames.opening import get_orientation, get_upright_size

MAKE, MODEL, EXIF_IFD = 0x010F, 0x0110, 0x8769
LENS_TAGS = (0x920A, 0xA405, 0xA434)  # focal length, the same for 35 mm film, lens
# EXIF orientation -> degrees by which the sensor's picture is turned clockwise against the upright one. The others are
# mirrored, which no camera is.
SENSOR_TURNS = {1: 0, 3: 180, 6: 270, 8: 90}
# What each parameter of COLMAP's camera models is measured in: pixels along x, along y, along both, or nothing.
PARAMETERS = {
    "SIMPLE_PINHOLE": "fxy",
    "PINHOLE": "xyxy",
    "SIMPLE_RADIAL": "fxy-",
    "RADIAL": "fxy--",
    "OPENCV": "xyxy----",
    "OPENCV_FISHEYE": "xyxy----",
    "FULL_OPENCV": "xyxy--------",
    "FOV": "xyxy-",
    "SIMPLE_RADIAL_FISHEYE": "fxy-",
    "RADIAL_FISHEYE": "fxy--",
    "THIN_PRISM_FISHEYE": "xyxy--------",
}
Size = Tuple[int, int]


class Header(NamedTuple):
    """What a photo's header says."""

    size: Size  # of its pixels
    upright: Size  # after EXIF's orientation
    orientation: int  # EXIF, 1 to 8
    camera: Tuple[str, ...]  # maker, model, focal lengths, lens; empty texts where EXIF does not tell


class Placing(NamedTuple):
    """How a photo becomes a frame."""

    group: Tuple[Any, ...]  # photos of one group share a camera
    turn: int  # degrees clockwise from the upright picture to the stored one: 0, 90, 180, 270
    given: Optional[int]  # number of its camera, if poses came along


def read_header(image: Image.Image) -> Header:
    return Header(image.size, get_upright_size(image), get_orientation(image), read_camera(image))


def read_camera(image: Image.Image) -> Tuple[str, ...]:
    """Maker, model, focal lengths, lens. Photos of one phone differ in these if another of its lenses took them."""
    try:
        exif = image.getexif()
        inner = exif.get_ifd(EXIF_IFD)
        numbers = [str(round(float(inner[tag]), 2)) if tag in inner else "" for tag in LENS_TAGS[:2]]
        words = (exif.get(MAKE, ""), exif.get(MODEL, ""), inner.get(LENS_TAGS[2], ""))
        return (*(str(word).strip("\0 ") for word in words), *numbers)
    except Exception:  # Pillow has many ways to say that EXIF is broken; viewers ignore it then
        return ("", "", "", "", "")


def place_photos(headers: Sequence[Header], given: Sequence[Optional[int]], sizes: Sequence[Size]) -> List[Placing]:
    """How each photo becomes a frame.

    given: the number of the photo's camera among those of ingest.json, or None. sizes: of these cameras.
    A camera has one sensor, however it was held: where photos of one camera are upright and sideways, they are stored
    as the sensor saw them. Where EXIF does not tell, the fewer ones are turned by 90 degrees.
    Photos with a given pose stay as that pose means them.
    """
    placings: List[Placing] = []
    groups: Dict[Tuple[Any, ...], List[int]] = {}
    for index, header in enumerate(headers):
        groups.setdefault((header.camera, min(header.size), max(header.size)), []).append(index)
    turns: Dict[int, int] = {}
    for members in groups.values():
        turns.update(turn_alike([headers[index] for index in members], members))
    known: Dict[
        Tuple[Any, ...], Optional[int]
    ] = {}  # camera by EXIF -> the one given camera of its photos; -1 if there are several
    for index, header in enumerate(headers):
        if given[index] is not None:
            turns[index] = 0 if sizes[given[index] or 0] != header.size else SENSOR_TURNS.get(header.orientation, 0)
            key = (header.camera, header.size)
            known[key] = given[index] if known.get(key, given[index]) == given[index] else -1
    for index, header in enumerate(headers):
        camera = given[index]
        same = known.get((header.camera, header.size), -1)
        if camera is None and same is not None and same >= 0:  # such as a photo that was left without a pose
            camera = same
            turns[index] = 0 if sizes[same] != header.size else SENSOR_TURNS.get(header.orientation, 0)
        turned = header.upright if turns[index] in (0, 180) else (header.upright[1], header.upright[0])
        group = (camera, turned) if camera is not None else (None, header.camera, turned)
        placings.append(Placing(group, turns[index], camera))
    return placings


def turn_alike(headers: Sequence[Header], indices: Sequence[int]) -> Dict[int, int]:
    """Index -> degrees, so that the photos of one camera have one size."""
    upright = [header.upright for header in headers]
    if len(set(upright)) == 1:
        return dict.fromkeys(indices, 0)
    sensor = {header.size for header in headers}
    if len(sensor) == 1 and all(header.orientation in SENSOR_TURNS for header in headers):
        return {index: SENSOR_TURNS[header.orientation] for index, header in zip(indices, headers)}
    usual = max(sorted(set(upright)), key=upright.count)
    return {index: 0 if size == usual else 90 for index, size in zip(indices, upright)}


def turn(upright: Image.Image, degrees: int) -> Image.Image:
    """The picture turned clockwise."""
    ways: Dict[int, Any] = {90: 4, 180: 3, 270: 2}  # Image.Transpose.ROTATE_270 ..., which old versions do not have
    return upright.transpose(ways[degrees]) if degrees else upright


def describe_cameras(
    placings: Sequence[Placing], sizes: Sequence[Size], given: Sequence[Dict[str, Any]]
) -> Tuple[List[Dict[str, Any]], List[int]]:
    """The entry cameras of frames.json, that with most frames first; and the number of each frame's camera.

    sizes: of the stored frames. given: cameras of ingest.json.
    """
    members: Dict[Tuple[Any, ...], List[int]] = {}
    for index, (placing, size) in enumerate(zip(placings, sizes)):
        members.setdefault((placing.group, size), []).append(index)
    cameras, numbers = [], [0] * len(placings)
    ordered = sorted(members.items(), key=lambda item: (-len(item[1]), item[1][0]))
    for number, ((_, (width, height)), frames) in enumerate(ordered):
        camera = placings[frames[0]].given
        scaled = None if camera is None else scale_camera(given[camera], (width, height))
        cameras.append({"width": width, "height": height, "given": scaled})
        for index in frames:
            numbers[index] = number
    return cameras, numbers


def scale_camera(camera: Dict[str, Any], size: Size) -> Dict[str, Any]:
    """Model and parameters of a given camera for pictures of this size."""
    scale_x, scale_y = size[0] / camera["width"], size[1] / camera["height"]
    factors = {"x": scale_x, "y": scale_y, "f": (scale_x * scale_y) ** 0.5, "-": 1.0}
    kinds = PARAMETERS[camera["model"]]
    params = [value * factors[kind] for kind, value in zip(kinds, camera["params"])]
    return {"model": camera["model"], "params": params}
