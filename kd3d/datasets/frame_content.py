"""What decides a frame's augmented content, beside the file that the frame is named by."""

from collections.abc import Iterator, Mapping, Sequence
from enum import Enum
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from kd3d.configs import type_name

# Read in mmcv 2.1, mmdet 3.3 and mmdet3d 1.4, and run with and without labels by the tests: the
# image and the points that they make are the same whatever boxes, labels and masks a frame has,
# unless they drop the frame. Wrappers stand for what they wrap, which is looked at, too. A
# transform that is not named here may read labels, as MinIoURandomCrop and ObjectNoise do.
WRAPPERS = frozenset({"RandomApply", "RandomChoice", "RandomOrder"})
LABEL_FREE = frozenset(
    {
        *("LoadAnnotations", "LoadAnnotations3D", "LoadPointsFromMultiSweeps"),
        *("Resize", "FixScaleResize", "FixShapeResize", "RandomResize", "RandomChoiceResize"),
        *("RandomFlip", "RandomCrop", "RandomAffine", "Expand", "Pad", "CutOut", "RandomErasing"),
        *("Rotate", "ShearX", "ShearY", "TranslateX", "TranslateY", "Normalize"),
        *("PhotoMetricDistortion", "YOLOXHSVRandomAug", "RandomGrayscale"),
        *("Color", "Brightness", "Contrast", "Sharpness", "AutoContrast", "Equalize"),
        *("Invert", "Posterize", "Solarize", "FilterAnnotations", "PackDetInputs"),
        *("GlobalRotScaleTrans", "RandomFlip3D", "RandomJitterPoints", "PointSample"),
        *("PointShuffle", "PointsRangeFilter", "ObjectRangeFilter", "ObjectNameFilter"),
        *("Pack3DDetInputs",),
    }
)
# Decided by files, whose states count, and by steps before, which a cache's folder is named by;
# and a frame's place in its data set, which the labelled part of a set numbers otherwise.
_NOT_READ = {"img", "points", "sample_idx", "img_id"}
_CAMERAS = ("images", "cam2img", "lidar2cam", "lidar2img", "depth2img")  # mmdet3d's
_SWEEP_POINTS = ("lidar_path", "lidar2sensor")  # what LoadPointsFromMultiSweeps reads
_PLAIN = (str, bool, int, float, type(None))


def kinds_in(node: Any) -> Iterator[str]:  # Any: nested config values
    """Names of all transforms of a list, wrapped ones and those of ``resize_type`` included."""
    if isinstance(node, Mapping):
        for key, value in node.items():
            if key in ("type", "resize_type"):
                yield type_name({"type": value})
            else:
                yield from kinds_in(value)
    elif isinstance(node, list | tuple):
        for value in node:
            yield from kinds_in(value)


def may_read_labels(transforms: Sequence[Mapping[str, Any]]) -> bool:
    """Whether image or points may depend on labels: a transform is not in LABEL_FREE."""
    return not set(kinds_in(transforms)) <= LABEL_FREE | WRAPPERS


def content_digest(results: Mapping[str, Any], *, labels: bool) -> str:
    """Of what enters transforms beside the frame's own file; empty where nothing else counts.

    Args:
        results: before the transforms, which change boxes in place.
        labels: whether a transform may read more than image or points: then all that the frame
            holds counts, boxes, labels, masks and calibration. Otherwise only the cameras of an
            mmdet3d frame whose images have been loaded do: their files and calibration.
    """
    if labels:
        return digest({key: value for key, value in results.items() if key not in _NOT_READ})
    if "img" in results and "images" in results:
        return digest({key: results[key] for key in _CAMERAS if key in results})
    return ""


def sweeps_digest(results: Mapping[str, Any]) -> str:
    """Of the earlier turns that a LiDAR frame may be joined with; empty where it has none.

    They lie in the frame's info whether or not a pipeline loads them, so this has to be cheap.
    """
    sweeps = results.get("lidar_sweeps")
    if not sweeps:
        return ""
    read = []
    for sweep in sweeps:
        points = sweep.get("lidar_points", {})
        read.append([sweep.get("timestamp"), {key: points.get(key) for key in _SWEEP_POINTS}])
    return digest([results.get("timestamp"), read])


def digest(value: Any) -> str:  # Any: whatever a pipeline's results hold
    """16 hexadecimal digits; a path counts with the state of its file."""
    found = blake2b(digest_size=8)
    _feed(found, value)
    return found.hexdigest()


def file_state(path: str) -> str:
    """Size in bytes and time in ns of a local file; empty where there is none (a remote store)."""
    try:
        found = Path(path).stat()
    except (OSError, ValueError):
        return ""
    return f"{found.st_size}-{found.st_mtime_ns}"


def _feed(into: blake2b, value: Any) -> None:
    if isinstance(value, Tensor):
        value = value.detach().cpu().numpy()
    if isinstance(value, _PLAIN):
        into.update(f"{value!r};".encode())
    elif isinstance(value, list) and all(type(item) in _PLAIN for item in value):
        into.update(repr(value).encode())  # a matrix's row, at once
    elif isinstance(value, np.ndarray) and value.dtype != object:
        into.update(f"{value.dtype}{value.shape}".encode())
        into.update(value.tobytes())
    elif isinstance(value, Mapping):
        into.update(f"{{{len(value)}".encode())
        for key in sorted(value, key=str):
            item = value[key]
            into.update(f"{key}:".encode())
            _feed(into, item)
            if str(key).endswith("path") and isinstance(item, str):
                _feed(into, file_state(item))
    elif isinstance(value, list | tuple | np.ndarray):
        into.update(f"[{len(value)}".encode())
        for item in value:
            _feed(into, item)
    elif hasattr(value, "__dict__") and not isinstance(value, type | Enum):  # boxes, masks
        into.update(type(value).__qualname__.encode())
        _feed(into, vars(value))
    else:
        into.update(f"{value!r};".encode())
