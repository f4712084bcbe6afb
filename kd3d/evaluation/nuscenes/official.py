"""The devkit's own evaluation of a results file, and how far ours is from it."""

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kd3d.evaluation.nuscenes.protocol import ERROR_NAMES, ERRORS, Protocol
from kd3d.evaluation.nuscenes.result import NuScenesResult


@dataclass(frozen=True)
class Comparison:
    """One value of both evaluations.

    Attributes:
        name: such as "NDS" or "car AP@2m".
        ours: fraction, or an error in its unit; NaN where a class has no such error.
        official: the devkit's.
    """

    name: str
    ours: float
    official: float

    @property
    def equal(self) -> bool:
        """To the last bit; two NaN are equal."""
        both_nan = self.ours != self.ours and self.official != self.official
        return self.ours == self.official or both_nan

    @property
    def difference(self) -> float:
        """Absolute; 0 if equal, even where both are NaN or infinite."""
        return 0.0 if self.equal else abs(self.ours - self.official)


def official_comparison(
    result: NuScenesResult,
    results_file: str | Path,
    dataroot: str | Path,
    *,
    version: str,
    split: str,
) -> list[Comparison]:
    """Runs the devkit on the same file: it loads its whole database, which takes its time.

    Returns:
        NDS, mAP and the mean errors, then every AP and error by class.
    """
    official = _devkit_values(str(results_file), str(dataroot), version, split, result.protocol)
    return [Comparison(name, ours, official[name]) for name, ours in values_of(result)]


def comparison_table(rows: list[Comparison]) -> str:
    """The whole scores side by side, then the largest difference of all values."""
    whole = [row for row in rows if " " not in row.name]
    lines = [f"{'':6}{'kd3d':>22}{'devkit':>22}"]
    lines += [f"{row.name:6}{row.ours!r:>22}{row.official!r:>22}" for row in whole]
    worst = max(rows, key=lambda row: row.difference)
    equal = sum(row.equal for row in rows)
    lines += ["", f"{equal} of {len(rows)} values are equal to the last bit"]
    if equal < len(rows):
        lines += [f"largest difference: {worst.difference:g} in {worst.name}"]
        lines += [f"{r.name}: {r.ours!r}, devkit {r.official!r}" for r in rows if not r.equal]
    else:
        lines += ["largest difference: 0"]
    return "\n".join(lines)


def values_of(result: NuScenesResult) -> Iterator[tuple[str, float]]:
    """Names and values of both scores, the mean errors, and every AP and error by class."""
    yield "NDS", result.nds
    yield "mAP", result.mean_ap
    for error, value in result.tp_errors.items():
        yield f"m{ERROR_NAMES[error]}", value
    for name, aps in result.label_aps.items():
        for distance_m, ap in aps.items():
            yield f"{name} AP@{distance_m:g}m", ap
        for error in ERRORS:
            yield f"{name} {ERROR_NAMES[error]}", result.label_tp_errors[name][error]


def _devkit_values(
    results_file: str, dataroot: str, version: str, split: str, protocol: Protocol
) -> dict[str, float]:
    from nuscenes import NuScenes
    from nuscenes.eval.detection.config import config_factory
    from nuscenes.eval.detection.evaluate import NuScenesEval

    with tempfile.TemporaryDirectory() as folder:
        metrics, _ = NuScenesEval(
            NuScenes(version, dataroot, verbose=False),
            config_factory(protocol.name),
            results_file,
            split,
            folder,
            verbose=False,
        ).evaluate()
    return devkit_metric_values(metrics, protocol)


def devkit_metric_values(
    metrics: Any, protocol: Protocol
) -> dict[str, float]:  # Any: the devkit is untyped
    """The same of the devkit's ``DetectionMetrics``, under the names of ``values_of``."""
    values = {"NDS": metrics.nd_score, "mAP": metrics.mean_ap}
    values |= {f"m{ERROR_NAMES[error]}": value for error, value in metrics.tp_errors.items()}
    for name in protocol.range_m:
        for distance_m in protocol.distances_m:
            values[f"{name} AP@{distance_m:g}m"] = metrics.get_label_ap(name, distance_m)
        for error in ERRORS:
            values[f"{name} {ERROR_NAMES[error]}"] = metrics.get_label_tp(name, error)
    return values
