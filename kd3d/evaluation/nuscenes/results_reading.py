"""Reads nuScenes' results file, refusing what the devkit refuses, with a message that helps."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from kd3d.errors import UserError
from kd3d.evaluation.nuscenes.box_check import check_box
from kd3d.evaluation.nuscenes.boxes import Boxes, GroundTruth, Ints
from kd3d.evaluation.nuscenes.evaluate import check_box_count
from kd3d.evaluation.nuscenes.protocol import ATTRIBUTES, CLASSES, NO_ATTRIBUTE, Protocol
from kd3d.evaluation.nuscenes.splits import is_predefined
from kd3d.files import expected_json

Json = Mapping[str, Any]  # Any: parsed JSON

_LABELS = {name: label for label, name in enumerate(CLASSES)}
_ATTRIBUTES = {"": NO_ATTRIBUTE, **{name: index for index, name in enumerate(ATTRIBUTES)}}
_VECTORS = {"translation": "center_m", "size": "size_m", "rotation": "rotation"}
_VECTORS |= {"velocity": "velocity"}


@dataclass(frozen=True)
class Results:
    """Predictions of a file.

    Attributes:
        boxes: in the order in which the devkit would see them.
        matched_in: (N,) frame of the sample that each box names itself; -1 if it is not in the
            split. A sane file names the sample that the box is listed under.
    """

    boxes: Boxes
    matched_in: Ints


def read_results(
    path: str | Path, truth: GroundTruth, *, split: str, protocol: Protocol
) -> Results:
    """Reads and checks a results file.

    Of nuScenes' own splits the file has to list exactly the samples; of a custom split at least
    those, as the devkit has it.

    Raises:
        UserError: if the file is not a results file of that split, or a box is malformed. One
            check is stricter than the devkit's: a velocity has to be two numbers (NaN included)
            even where the box is never matched.
    """
    results = _read(path)
    frame_of = {token: frame for frame, token in enumerate(truth.tokens)}
    _check_samples(path, results, frame_of, split)
    parts, own = [], []
    # The devkit reads its own splits in the order of the file, others in that of the tables.
    for token in list(results) if is_predefined(split) else truth.tokens:
        found = results.pop(token)  # the parsed file is several times as large as the arrays
        where = f"{path}: sample {token}"
        boxes, frame = _sample(found, token, frame_of, where)
        parts.append(boxes)
        own.append(frame)
    boxes = Boxes.concatenate(parts)
    if len(boxes) == 0:
        raise UserError(
            f"{path}: all {len(truth.tokens)} samples are without boxes, which the devkit cannot "
            "evaluate; lower the detector's score threshold"
        )
    check_box_count(boxes.frame, truth.tokens, protocol.max_boxes)
    return Results(boxes=boxes, matched_in=np.concatenate(own))


def _read(path: str | Path) -> dict[str, Any]:  # Any: parsed JSON
    """Boxes by sample."""
    content = expected_json(path, "nuScenes results as JSON")
    keys = sorted(content) if isinstance(content, dict) else type(content).__name__
    if not isinstance(content, dict) or not {"results", "meta"} <= content.keys():
        raise UserError(
            f"{path}: expected an object with the entries 'meta' and 'results', got {keys}"
        )
    if not isinstance(content["results"], dict):
        raise UserError(
            f"{path}: expected 'results' to be an object {{sample token: [boxes]}}, got "
            f"{type(content['results']).__name__}"
        )
    results: dict[str, Any] = content["results"]
    return results


def _check_samples(
    path: str | Path, results: Json, frame_of: Mapping[str, int], split: str
) -> None:
    missing = [token for token in frame_of if token not in results]
    extra = [token for token in results if token not in frame_of] if is_predefined(split) else []
    if missing or extra:
        found = f"{len(missing)} are missing, {len(extra)} are not in the split"
        raise UserError(
            f"{path}: expected the {len(frame_of)} samples of split {split}, but {found} (such as "
            f"{(missing + extra)[:2]}); list samples without detections with [], and evaluate "
            "part of a split as a custom one in splits.json"
        )


def _sample(
    found: Any, token: str, frame_of: Mapping[str, int], where: str
) -> tuple[Boxes, Ints]:  # Any: parsed JSON
    """The boxes of one sample, and the frames of the samples that they name themselves."""
    if not isinstance(found, list):
        raise UserError(f"{where}: expected a list of boxes, got {type(found).__name__}")
    if not _is_sound(found):
        for number, box in enumerate(found):
            check_box(box, f"{where}, box {number}")
    columns = _columns(found)
    columns["frame"] = np.full(len(found), frame_of[token])
    own = [frame_of.get(box["sample_token"], -1) for box in found]
    return Boxes.of(columns), np.array(own, dtype=np.int64)


def _is_sound(found: Sequence[Json]) -> bool:
    """Whether all boxes are as they should be; a quick look at all, before one at a time."""
    try:
        columns = _columns(found)
        tokens = {type(box["sample_token"]) for box in found}
        more = any("ego_translation" in box for box in found)
    except (KeyError, TypeError, ValueError, OverflowError):
        return False
    if not found:
        return True
    for name, width in (("center_m", 3), ("size_m", 3), ("rotation", 4), ("velocity", 2)):
        values = columns[name]
        if values.dtype.kind not in "fiub" or values.shape != (len(found), width):
            return False
        if name != "velocity" and np.isnan(values).any():
            return False
    return tokens == {str} and not more and not np.isnan(columns["score"]).any()


def _columns(found: Sequence[Json]) -> dict[str, Any]:  # Any: arrays or lists of numbers
    return {
        **{name: np.array([box[key] for box in found]) for key, name in _VECTORS.items()},
        "label": [_LABELS[box["detection_name"]] for box in found],
        "attribute": [_ATTRIBUTES[box["attribute_name"]] for box in found],
        "score": np.array([float(box.get("detection_score", -1.0)) for box in found]),
        "points": [int(int(box.get("num_pts", -1)) != 0) for box in found],
    }
