"""NuScenesResult: mAP, errors and NDS of one evaluation, whole and by class."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from kd3d.evaluation.nuscenes.curves import Curve
from kd3d.evaluation.nuscenes.protocol import ERROR_NAMES, ERRORS, Protocol


@dataclass(frozen=True)
class NuScenesResult:
    """What the devkit answers, under the devkit's names.

    Attributes:
        protocol: that was evaluated.
        label_aps: class -> distance in m -> AP in [0, 1]; 0 for a class without ground truth.
        label_tp_errors: class -> error -> value in m, 1 - IoU, rad, m/s, 1 - accuracy; NaN where
            a class has no such error, 1 where a class was not found.
        curves: class -> distance in m -> precision over recall.
        frames: how many were evaluated.
    """

    protocol: Protocol
    label_aps: Mapping[str, Mapping[float, float]]
    label_tp_errors: Mapping[str, Mapping[str, float]]
    curves: Mapping[str, Mapping[float, Curve]]
    frames: int

    @property
    def mean_dist_aps(self) -> dict[str, float]:
        """Class -> mean AP over the distances, in [0, 1]."""
        return {name: float(np.mean(list(aps.values()))) for name, aps in self.label_aps.items()}

    @property
    def mean_ap(self) -> float:
        """Mean over classes and distances, in [0, 1]."""
        return float(np.mean(list(self.mean_dist_aps.values())))

    @property
    def tp_errors(self) -> dict[str, float]:
        """Error -> mean over the classes that have it."""
        return {
            error: float(np.nanmean([errors[error] for errors in self.label_tp_errors.values()]))
            for error in ERRORS
        }

    @property
    def nds(self) -> float:
        """NuScenes detection score in [0, 1]: mAP, and 1 - error (at least 0) of each error."""
        weight = self.protocol.map_weight
        scores = [max(0.0, 1.0 - error) for error in self.tp_errors.values()]
        total = float(weight * self.mean_ap + np.sum(scores))
        return total / float(weight + len(scores))

    @property
    def metrics(self) -> dict[str, float]:
        """NDS and mAP in percent; mATE, mASE, mAOE, mAVE, mAAE in their units."""
        errors = {f"m{ERROR_NAMES[error]}": value for error, value in self.tp_errors.items()}
        whole = {"NDS": 100 * self.nds, "mAP": 100 * self.mean_ap, **errors}
        return {name: value for name, value in whole.items() if math.isfinite(value)}

    @property
    def per_class(self) -> dict[str, dict[str, float]]:
        """Class -> AP and AP@0.5 ... in percent, ATE ... in their units; undefined left out."""
        answer = {}
        for name, aps in self.label_aps.items():
            errors = self.label_tp_errors[name]
            values = {
                "AP": 100 * self.mean_dist_aps[name],
                **{f"AP@{distance_m:g}": 100 * ap for distance_m, ap in aps.items()},
                **{ERROR_NAMES[error]: errors[error] for error in ERRORS},
            }
            answer[name] = {key: value for key, value in values.items() if math.isfinite(value)}
        return answer

    @property
    def curve_points(self) -> dict[str, dict[str, dict[str, list[float]]]]:
        """Class -> distance -> recall and precision, 101 values each, for a JSON file."""
        return {
            name: {
                f"{distance_m:g}": {
                    "recall": curve.recall.tolist(),
                    "precision": curve.precision.tolist(),
                }
                for distance_m, curve in curves.items()
            }
            for name, curves in self.curves.items()
        }
