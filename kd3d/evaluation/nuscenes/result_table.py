"""A result as the table that users of mmdet3d and the devkit know."""

import math
from collections.abc import Iterable, Mapping, Sequence

from kd3d.evaluation.nuscenes.protocol import ERROR_NAMES, ERRORS
from kd3d.evaluation.nuscenes.result import NuScenesResult


def result_table(result: NuScenesResult, data: Mapping[str, str]) -> str:
    """Scores in percent and errors in their units, in all and by class.

    Args:
        result: to show.
        data: what it was measured on: version, split, and "synthetic" where that is made up.
    """
    metrics = result.metrics
    summary = "   ".join(
        f"{name} {value:.1f}" if name in ("NDS", "mAP") else f"{name} {value:.3f}"
        for name, value in metrics.items()
    )
    distances_m = result.protocol.distances_m
    header = ["class", "AP", *(f"AP@{distance_m:g}m" for distance_m in distances_m)]
    header += [ERROR_NAMES[error] for error in ERRORS]
    rows = [
        [
            name,
            f"{100 * result.mean_dist_aps[name]:.1f}",
            *(f"{100 * aps[distance_m]:.1f}" for distance_m in distances_m),
            *(_number(result.label_tp_errors[name][error]) for error in ERRORS),
        ]
        for name, aps in result.label_aps.items()
    ]
    made_up = ", a synthetic world" if data.get("synthetic") else ""
    where = f"{data['version']}, split {data['split']}, {result.frames} frames{made_up}"
    return "\n".join([where, *_aligned([header, *rows]), "", summary])


def _number(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.3f}"


def _aligned(rows: Sequence[Sequence[str]]) -> Iterable[str]:
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    for name, *cells in rows:
        numbers = (cell.rjust(width) for cell, width in zip(cells, widths[1:], strict=True))
        yield "  ".join([name.ljust(widths[0]), *numbers])
