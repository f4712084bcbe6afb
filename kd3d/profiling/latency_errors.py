"""Errors of predicted latencies, and the interval that they justify."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr  # type: ignore[import-untyped]

from kd3d.profiling.published_rows import PublishedRow, clock_pairs

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
    """Half width in the logarithm within which ``coverage`` of the errors lie.

    Each family weighs as the square root of its rows, as in the fit.

    Args:
        rows: as published.
        predicted: (N,) ms, by fits that had not seen the rows.
        coverage: in (0, 1).
    """
    sizes: Mapping[str, int] = {
        family: sum(row.family == family for row in rows) for family in {r.family for r in rows}
    }
    weights = np.array([sizes[row.family] ** -0.5 for row in rows])
    errors = np.abs(np.log1p(relative_errors(rows, predicted)))
    order = np.argsort(errors)
    reached = np.cumsum(weights[order]) / weights.sum()
    return float(errors[order][np.searchsorted(reached, coverage)])


def held_coverage(rows: Sequence[PublishedRow], predicted: Array, coverage: float) -> float:
    """How often an interval holds whose width the row's own family did not help to set.

    The share of the rows, or that of a family in the mean, whichever is less: a user's network is
    of a family of its own, and the families with many rows are the easier ones.
    """
    shares: list[float] = []
    sizes: list[int] = []
    for family in sorted({row.family for row in rows}):
        own = np.array([row.family == family for row in rows])
        others = [row for row, mine in zip(rows, own, strict=True) if not mine]
        width = interval_half_width(others, np.asarray(predicted)[~own], coverage)
        errors = np.log1p(relative_errors(rows, predicted))[own]
        shares.append(float((np.abs(errors) <= width).mean()))
        sizes.append(int(own.sum()))
    return float(min(np.mean(shares), np.average(shares, weights=sizes)))


def calibrated_level(rows: Sequence[PublishedRow], predicted: Array, coverage: float) -> float:
    """The quantile of the errors whose interval holds for ``coverage`` of unseen families.

    Few families say little about the tails of the next one, so it lies above ``coverage``.
    """
    levels = np.arange(coverage, 0.99, 0.01)
    held = (level for level in levels if held_coverage(rows, predicted, level) >= coverage)
    return float(next(held, levels[-1]))


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


def scaling_summary(scaling: Sequence[Mapping[str, Any]], within_percent: float) -> dict[str, Any]:
    """Of pairs as :func:`clock_scaling` gives them: how many, their errors, how many are small."""
    errors = np.array([abs(pair["error_percent"]) for pair in scaling])
    return {
        "pairs": len(errors),
        "mean_error_percent": round(float(errors.mean()), 1),
        "largest_error_percent": round(float(errors.max()), 1),
        f"pairs_within_{within_percent:g}_percent": int((errors <= within_percent).sum()),
    }


def _percent(share: Any) -> float:
    return round(100 * float(share), 1)
