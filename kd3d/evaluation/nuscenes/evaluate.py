"""The nuScenes detection metrics over arrays, equal to nuscenes-devkit 1.2.0 to the last bit."""

import math
from dataclasses import replace

import numpy as np

from kd3d.errors import UserError
from kd3d.evaluation.nuscenes.boxes import Boxes, GroundTruth, Ints
from kd3d.evaluation.nuscenes.curves import Curve, average_precision, curve_of, mean_error
from kd3d.evaluation.nuscenes.errors import pair_errors
from kd3d.evaluation.nuscenes.filters import counting
from kd3d.evaluation.nuscenes.matching import Candidates, score_order
from kd3d.evaluation.nuscenes.protocol import (
    CLASSES,
    CVPR_2019,
    ERRORS,
    HALF_TURN_CLASSES,
    UNDEFINED_ERRORS,
    Protocol,
)
from kd3d.evaluation.nuscenes.result import NuScenesResult


def evaluate(
    truth: GroundTruth,
    predictions: Boxes,
    protocol: Protocol = CVPR_2019,
    *,
    matched_in: Ints | None = None,
) -> NuScenesResult:
    """Matches predictions with ground truth and computes mAP, the five errors and NDS.

    Range, zero-point and bicycle-rack filters are applied here, to both. Missing predictions are
    no error: classes or splits that were not found have AP 0 and errors of 1.

    Args:
        truth: of the split.
        predictions: in the order in which the frames and boxes of a result file would be listed.
        protocol: ranges and thresholds.
        matched_in: (N,) frame in whose objects a prediction is looked for, where that is not the
            one it is listed under: a results file names the sample twice, and the devkit filters
            by one name and matches by the other. -1 is no frame of the split.

    Raises:
        UserError: if a frame has more boxes than allowed, a matched box has a size that is not
            above 0, or scores are negative so that no curve can be drawn.
    """
    check_box_count(predictions.frame, truth.tokens, protocol.max_boxes)
    counts = counting(predictions, truth, protocol)
    objects = truth.boxes[counting(truth.boxes, truth, protocol)]
    frames = len(truth.tokens)
    aps: dict[str, dict[float, float]] = {}
    errors: dict[str, dict[str, float]] = {}
    curves: dict[str, dict[float, Curve]] = {}
    for name in protocol.range_m:
        label = CLASSES.index(name)
        index = np.flatnonzero(counts & (predictions.label == label))
        index = index[score_order(predictions.score[index])]
        found = predictions[index]  # one copy of a class at a time: there may be millions
        if matched_in is not None:
            found = replace(found, frame=matched_in[index])
        of_class = objects[objects.label == label]
        curves[name], errors[name] = _one_class(name, of_class, found, protocol, frames)
        aps[name] = {
            distance_m: average_precision(
                curve, min_recall=protocol.min_recall, min_precision=protocol.min_precision
            )
            for distance_m, curve in curves[name].items()
        }
    return NuScenesResult(
        protocol=protocol, label_aps=aps, label_tp_errors=errors, curves=curves, frames=frames
    )


def check_box_count(frame: Ints, tokens: tuple[str, ...], max_boxes: int) -> None:
    """Refuses a frame with more boxes than the benchmark allows.

    Raises:
        UserError: naming the frame with the most.
    """
    count = np.bincount(frame, minlength=len(tokens))
    if len(count) and count.max() > max_boxes:
        most = int(count.argmax())
        raise UserError(
            f"sample {tokens[most]}: {count[most]} boxes, but nuScenes allows {max_boxes} a sample "
            f"({int((count > max_boxes).sum())} samples have more); keep the {max_boxes} with the "
            "highest scores, such as by max_num of the detector's test_cfg"
        )


def _one_class(
    name: str, objects: Boxes, found: Boxes, protocol: Protocol, frames: int
) -> tuple[dict[float, Curve], dict[str, float]]:
    """Curves by distance, and errors, of one class's predictions in order of score."""
    errors = {
        error: math.nan if error in UNDEFINED_ERRORS.get(name, ()) else 1.0 for error in ERRORS
    }
    if len(objects) == 0 or len(found) == 0:
        return {distance_m: Curve.empty() for distance_m in protocol.distances_m}, errors
    limit_m = max(protocol.distances_m)
    candidates = Candidates(found, objects, frames=frames, limit_m=limit_m)
    curves = {}
    for distance_m in protocol.distances_m:
        matched = candidates.match(distance_m)
        where = f"{name} at {distance_m:g} m"
        _check_sizes(objects, found, matched, where)
        curves[distance_m] = curve_of(matched, found.score, len(objects), where=where)
        if distance_m == protocol.error_distance_m:
            _measure(errors, name, objects, found, matched, curves[distance_m], protocol)
    return curves, errors


def _measure(
    errors: dict[str, float],
    name: str,
    objects: Boxes,
    found: Boxes,
    matched: Ints,
    curve: Curve,
    protocol: Protocol,
) -> None:
    """Replaces the errors that the class has by the measured ones."""
    hit = matched >= 0
    if not hit.any():
        return
    true = found[hit]
    period_rad = math.pi if name in HALF_TURN_CLASSES else 2 * math.pi
    values = pair_errors(true, objects[matched[hit]], period_rad=period_rad)
    for error in ERRORS:
        if not math.isnan(errors[error]):
            errors[error] = mean_error(
                curve, true.score, values[error], min_recall=protocol.min_recall
            )


def _check_sizes(objects: Boxes, found: Boxes, matched: Ints, where: str) -> None:
    hit = matched >= 0
    for what, sizes_m in (
        ("prediction", found.size_m[hit]),
        ("annotation", objects.size_m[matched[hit]]),
    ):
        flat = ~(sizes_m > 0).all(axis=1)
        if flat.any():
            raise UserError(
                f"{where}: a matched {what} has size (width, length, height) "
                f"{sizes_m[flat][0].tolist()}; expected all above 0 ({int(flat.sum())} such boxes)"
            )
