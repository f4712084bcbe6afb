"""Errors of predicted latencies, and the interval that they justify."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr  # type: ignore[import-untyped]

from kd3d.errors import UserError
from kd3d.profiling.prediction.published_rows import PublishedRow, clock_pairs

Array = NDArray[Any]


def error_table(rows: Sequence[PublishedRow], predicted: Array, key: str) -> dict[str, Any]:
    """Errors over all rows, and by the groups of ``key``.

    Args:
        rows: as published.
        predicted: (N,) ms.
        key: attribute of the rows that names the group: "family", "board".

    Returns:
        "rows", "mape_percent", "rank_correlation", and "by" group: rows, mape_percent,
        bias_percent (mean of the signed errors).
    """
    errors = relative_errors(rows, predicted)
    groups: dict[str, list[float]] = {}
    for row, error in zip(rows, errors, strict=True):
        groups.setdefault(str(getattr(row, key)), []).append(float(error))
    measured = [row.latency_ms for row in rows]
    return {
        "rows": len(rows),
        "mape_percent": _percent(np.abs(errors).mean()),
        "mape_percent_of_group_means": _percent(
            np.mean([np.abs(group).mean() for group in groups.values()])
        ),
        "rank_correlation": round(float(spearmanr(measured, predicted)[0]), 3),
        "by": {
            name: {
                "rows": len(group),
                "mape_percent": _percent(np.abs(group).mean()),
                "bias_percent": _percent(np.mean(group)),
            }
            for name, group in sorted(groups.items())
        },
    }


def relative_errors(rows: Sequence[PublishedRow], predicted: Array) -> Array:
    """(predicted - published) / published, (N,)."""
    published = np.array([row.latency_ms for row in rows])
    return np.asarray(np.asarray(predicted) / published - 1)


def interval_half_width(rows: Sequence[PublishedRow], predicted: Array, coverage: float) -> float:
    """Half width in the logarithm that ``coverage`` of unseen families keep to.

    Split conformal prediction (Vovk et al., 2005) with the family as the unit: the error of rank
    ceil((n + 1) coverage) among n families, whatever their distribution. A family's error is that
    of its worst row: boards and precisions of one family are off alike, so that its rows count
    once, and who asks for one network asks for several of them. One width serves all: the errors
    of these families do not grow with the share of time that kernels take to start (rank
    correlation -0.2).

    Args:
        rows: as published.
        predicted: (N,) ms, by fits that had not seen the row's family.
        coverage: in (0, 1).

    Raises:
        UserError: for fewer families than the coverage needs.
    """
    worst = sorted(_worst_errors(rows, predicted).values())
    # rounded, as 5 * 0.8 might come out above 4
    rank = math.ceil(round((len(worst) + 1) * coverage, 6))
    if rank > len(worst):
        raise UserError(
            f"coverage {coverage:g}: {len(worst)} families of networks support at most "
            f"{len(worst) / (len(worst) + 1):.2f}"
        )
    return worst[rank - 1]


def held_families(
    rows: Sequence[PublishedRow], nested: Mapping[str, Array], coverage: float
) -> list[str]:
    """Families all of whose rows lie in an interval that neither fit nor width had seen them for.

    Args:
        rows: as published.
        nested: family to (N,) ms of all rows, by fits without it and without the row's own family.
        coverage: of the interval, in (0, 1).
    """
    held = []
    for family, predicted in nested.items():
        others = [place for place, row in enumerate(rows) if row.family != family]
        width = interval_half_width([rows[p] for p in others], predicted[others], coverage)
        if _worst_errors(rows, predicted)[family] <= width:
            held.append(family)
    return held


def _worst_errors(rows: Sequence[PublishedRow], predicted: Array) -> dict[str, float]:
    errors: dict[str, float] = {}
    for row, error in zip(rows, np.log1p(relative_errors(rows, predicted)), strict=True):
        errors[row.family] = max(errors.get(row.family, 0.0), abs(float(error)))
    return errors


def clock_scaling(rows: Sequence[PublishedRow], predicted: Array) -> list[dict[str, Any]]:
    """How the ratio of two power modes of one board is met, other things equal.

    Returns:
        For each pair: "pair", "published" and "predicted" ratio, "error_percent".
    """
    found = []
    for place, other_place in clock_pairs(rows):
        row, other = rows[place], rows[other_place]
        published = row.latency_ms / other.latency_ms
        ratio = float(predicted[place] / predicted[other_place])
        found.append(
            {
                "pair": f"{row.label} / {other.board}",
                "published": round(published, 3),
                "predicted": round(ratio, 3),
                "error_percent": _percent(ratio / published - 1),
            }
        )
    return found


def scaling_summary(scaling: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Of pairs as :func:`clock_scaling` gives them: how many, their errors, how many are small."""
    errors = np.array([abs(pair["error_percent"]) for pair in scaling])
    return {
        "pairs": len(errors),
        "mean_error_percent": round(float(errors.mean()), 1),
        "largest_error_percent": round(float(errors.max()), 1),
        "pairs_within_8_percent": int((errors <= 8).sum()),
    }


def _percent(share: Any) -> float:
    return round(100 * float(share), 1)
