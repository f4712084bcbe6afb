"""The five errors of true positives, for many pairs at a time."""

import numpy as np

from kd3d.evaluation.nuscenes.boxes import Boxes, Floats
from kd3d.evaluation.nuscenes.protocol import NO_ATTRIBUTE
from kd3d.evaluation.nuscenes.rotations import angle_differences_rad, lengths, yaws_rad


def pair_errors(found: Boxes, truth: Boxes, *, period_rad: float) -> dict[str, Floats]:
    """Errors of M predictions against the objects they were matched with.

    Args:
        found: the predictions; sizes must be above 0.
        truth: the object of each.
        period_rad: pi where front and back look alike, else 2 pi.

    Returns:
        trans_err: distance of the centres in the plane, in m.
        vel_err: length of the velocities' difference in m/s; NaN where one is unknown.
        scale_err: 1 - IoU after aligning centres and orientations.
        orient_err: smallest difference of the yaw angles, in rad.
        attr_err: 1 for a wrong attribute, 0 for the right one; NaN where the object has none.
    """
    with np.errstate(invalid="ignore", over="ignore"):  # infinite velocities or sizes
        return {
            "trans_err": lengths(found.center_m[:, :2] - truth.center_m[:, :2]),
            "vel_err": lengths(found.velocity - truth.velocity),
            "scale_err": 1 - _aligned_iou(truth.size_m, found.size_m),
            "orient_err": angle_differences_rad(
                yaws_rad(truth.rotation), yaws_rad(found.rotation), period_rad
            ),
            "attr_err": np.where(
                truth.attribute == NO_ATTRIBUTE,
                np.nan,
                1.0 - (truth.attribute == found.attribute),
            ),
        }


def _aligned_iou(first_m: Floats, second_m: Floats) -> Floats:
    intersection = _volume(np.minimum(first_m, second_m))
    union: Floats = _volume(first_m) + _volume(second_m) - intersection
    return intersection / union


def _volume(size_m: Floats) -> Floats:
    volume_m3: Floats = size_m[:, 0] * size_m[:, 1] * size_m[:, 2]
    return volume_m3
