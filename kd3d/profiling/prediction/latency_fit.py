"""Fits the roofline's few parameters on published latencies, and says how far they carry.

Each parameter has a prior from what is known of the hardware, as a factor: the fit moves it only as
far as the data insist. Errors are measured on what was left out: a family of networks, or a board.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations_with_replacement
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares  # type: ignore[import-untyped]

from kd3d.profiling.prediction.kernel_time import (
    Parameters,
    Tiling,
    WorkTable,
    kernel_times,
    run_us,
)
from kd3d.profiling.prediction.kernel_work import LayerWork
from kd3d.profiling.prediction.published_rows import PublishedRow
from kd3d.profiling.roofline import harness_ms

Array = NDArray[Any]

# Name to (value, spread as a share): see docs of Parameters for what each is.
PRIORS: Mapping[str, tuple[float, float]] = {
    "tensor_int8": (0.8, 0.15),
    "tensor_fp16": (0.75, 0.15),
    "tensor_fp32": (0.6, 0.15),
    "blackwell": (1.0, 0.3),
    "l2_bytes_clock": (48.0, 0.4),
    "memory": (0.75, 0.12),
    "cache": (0.5, 0.6),
    "strided": (5.0, 0.5),
    "thin_bytes": (16.0, 0.6),
    "tile_clocks": (800.0, 0.5),
    "kernel_clocks": (2500.0, 0.5),
    "gap_us": (1.0, 0.5),
    "graph_start": (0.8, 0.25),
    "enqueue_us": (6.0, 0.4),
    "apart": (0.15, 0.6),
    "view": (0.5, 0.5),
    "depthwise": (0.5, 0.4),
    "pointwise": (6.0, 0.5),
    "python_ms": (0.5, 0.6),
    "mlperf_ms": (0.06, 0.6),
}
# Errors of a publisher's rows of one family have a part in common: how it set clocks, built engines
# and measured, and what the predictor misses of the family. The rest differs from row to row.
_COMMON_NOISE = 0.15
_ROW_NOISE = 0.06
_ROBUST = 2.0  # beyond twice the noise a row's error counts linearly, not by its square


@dataclass(frozen=True)
class FitRow:
    """A published row with its work.

    Attributes:
        row: as published.
        work: different kernels of the network; counts: how often each occurs, (L,).
        tiling: of the work on the row's board.
    """

    row: PublishedRow
    work: WorkTable
    counts: Array
    tiling: Tiling

    @classmethod
    def from_layers(cls, row: PublishedRow, layers: Sequence[LayerWork]) -> "FitRow":
        """Kernels that do equal work are timed once."""
        counts = Counter(replace(layer, name="", operators="") for layer in layers)
        work = WorkTable.from_layers(list(counts))
        tiling = Tiling.from_work(work, row.device.sms)
        return cls(row, work, np.array(list(counts.values())), tiling)


def predicted_ms(row: FitRow, parameters: Parameters) -> float:
    """Latency of the row's network on its board."""
    device, protocol = row.row.device, row.row.protocol
    times = kernel_times(
        row.work, device, parameters, cuda_graph=protocol == "mlperf", tiling=row.tiling
    )
    return run_us(times, row.counts) / 1e3 + harness_ms(protocol, device, parameters)


def fit_parameters(rows: Sequence[FitRow], start: Parameters | None = None) -> Parameters:
    """Most likely parameters for the rows, given the priors.

    Ratios within a group (boards, precisions and sizes, measured alike) tell more than the level of
    a group does, however many rows it has: see ``_COMMON_NOISE``.

    Args:
        rows: of several groups.
        start: where to begin [the priors].
    """
    names = list(PRIORS)
    centre = np.log([PRIORS[name][0] for name in names])
    spread = np.array([PRIORS[name][1] for name in names])
    measured = np.log([row.row.latency_ms for row in rows])
    groups = _groups([row.row for row in rows])

    def residuals(point: Array) -> Array:
        parameters = _parameters(names, point)
        errors = np.log([predicted_ms(row, parameters) for row in rows]) - measured
        parts = [_whitened(errors[places]) for places in groups]
        return np.concatenate([*parts, (point - centre) / spread])

    first = centre if start is None else np.log([getattr(start, name) for name in names])
    return _parameters(names, least_squares(residuals, first, xtol=1e-4, ftol=1e-4).x)


def _groups(rows: Sequence[PublishedRow]) -> list[list[int]]:
    """Places of the rows of each publisher and family."""
    found: dict[tuple[str, str], list[int]] = {}
    for place, row in enumerate(rows):
        found.setdefault((row.publisher, row.family), []).append(place)
    return list(found.values())


def _whitened(errors: Array) -> Array:
    """Errors of a group as independent ones of unit size: about their mean, and the mean."""
    count, mean = len(errors), errors.mean()
    level = mean / np.sqrt(_COMMON_NOISE**2 + _ROW_NOISE**2 / count)
    return np.append(_dampened((errors - mean) / _ROW_NOISE), level)


def _dampened(errors: Array) -> Array:
    """Square is the pseudo-Huber loss: quadratic, then linear."""
    sizes = _ROBUST * np.sqrt(2 * (np.sqrt(1 + (errors / _ROBUST) ** 2) - 1))
    return np.asarray(np.sign(errors) * sizes)


def _parameters(names: Sequence[str], point: Array) -> Parameters:
    return Parameters(**dict(zip(names, map(float, np.exp(point)), strict=True)))


def left_out(
    rows: Sequence[FitRow], group: Callable[[PublishedRow], str], start: Parameters
) -> Array:
    """Latency of each row as predicted by a fit without the row's group, (N,) ms."""
    found = np.zeros(len(rows))
    groups = [group(row.row) for row in rows]
    for name in sorted(set(groups)):
        others = [row for row, other in zip(rows, groups, strict=True) if other != name]
        parameters = fit_parameters(others, start)
        for place, row in enumerate(rows):
            if groups[place] == name:
                found[place] = predicted_ms(row, parameters)
    return found


def left_out_twice(rows: Sequence[FitRow], start: Parameters) -> dict[str, Array]:
    """Latencies for nested cross-validation by families.

    Returns:
        Each family's name to (N,) ms of all rows, by fits without it and without the row's family.
    """
    families = sorted({row.row.family for row in rows})
    found = {name: np.zeros(len(rows)) for name in families}
    for first, second in combinations_with_replacement(families, 2):
        pair = {first, second}
        parameters = fit_parameters([row for row in rows if row.row.family not in pair], start)
        for place, row in enumerate(rows):
            if row.row.family in pair:
                times = predicted_ms(row, parameters)
                if row.row.family == second:
                    found[first][place] = times
                if row.row.family == first:
                    found[second][place] = times
    return found
