"""A fit of the latency predictor with the errors that its user should know."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import yaml  # type: ignore[import-untyped]

from kd3d.profiling.prediction.kernel_time import Parameters
from kd3d.profiling.prediction.latency_errors import (
    clock_scaling,
    error_table,
    held_families,
    interval_half_width,
    scaling_summary,
)
from kd3d.profiling.prediction.latency_fit import (
    FitRow,
    fit_parameters,
    left_out,
    left_out_twice,
    predicted_ms,
)

_HEAD = """\
# Parameters of the latency predictor, written by tools/fit_latency.py; do not edit by hand.
# What each means: prediction/kernel_time.py, class Parameters; priors: latency_fit.py there.
"""


@dataclass(frozen=True)
class FitReport:
    """Parameters, interval and errors.

    Attributes:
        parameters: fitted on all rows.
        coverage: that the interval promises; half_width: of it, in the logarithm; held: share of
            the families that keep to an interval which they helped neither to fit nor to set.
        errors: by what was left out ("nothing", "network", "family", "board") the table of
            ``error_table``; of "network" also for families that another network stands for in the
            fit, and of "family" for Orin alone.
        scaling: ratios between clocks, predicted with the family left out.
        rows: used.
    """

    parameters: Parameters
    coverage: float
    half_width: float
    held: float
    errors: dict[str, dict[str, Any]]
    scaling: list[dict[str, Any]]
    rows: int

    def as_yaml(self, left: Sequence[tuple[str, str]]) -> str:
        """Content of ``roofline_parameters.yaml``.

        Args:
            left: rows that were not used, with the reason.
        """
        content = {
            "parameters": asdict(self.parameters),
            "interval": {
                "coverage": self.coverage,
                "log_half_width": _short(self.half_width),
                "held_in_cross_validation": round(self.held, 3),
            },
            "conditions": {
                "published_rows_used": self.rows,
                "rows_left_out_by_reason": dict(Counter(reason for _, reason in left)),
            },
            "errors_by_what_was_left_out": self.errors,
            "clock_scaling_with_the_family_left_out": {
                **scaling_summary(self.scaling),
                "by_pair": self.scaling,
            },
        }
        return _HEAD + str(yaml.safe_dump(content, sort_keys=False, width=100))


def fit_report(rows: Sequence[FitRow], coverage: float) -> FitReport:
    """Fits all rows, then without each network, family and board.

    Args:
        rows: published latencies with their work.
        coverage: of the interval, in (0, 1).
    """
    published = [row.row for row in rows]
    fitted = asdict(fit_parameters(rows))
    # as the file holds them, so that its errors are those of who reads it
    parameters = Parameters(**{name: _short(value) for name, value in fitted.items()})
    predicted = {
        "nothing": np.array([predicted_ms(row, parameters) for row in rows]),
        "network": left_out(rows, lambda row: row.network, parameters),
        "family": left_out(rows, lambda row: row.family, parameters),
        "board": left_out(rows, lambda row: row.device.name, parameters),
    }
    several = Counter(family for family, _ in {(row.family, row.network) for row in published})
    kin = [place for place, row in enumerate(published) if several[row.family] > 1]
    # Thor was measured with one family alone: without it the fit knows neither.
    orin = [place for place, row in enumerate(published) if row.device.generation == "ampere"]
    known_rows, known = [published[place] for place in orin], predicted["family"][orin]
    width = interval_half_width(known_rows, known, coverage)
    nested = {
        family: values[orin]
        for family, values in left_out_twice(rows, parameters).items()
        if any(row.family == family for row in known_rows)
    }
    return FitReport(
        parameters=parameters,
        coverage=coverage,
        half_width=width,
        held=len(held_families(known_rows, nested, coverage)) / len(nested),
        errors={
            **{
                name: error_table(published, values, "board" if name == "board" else "family")
                for name, values in predicted.items()
            },
            "network, another of its family stays": error_table(
                [published[place] for place in kin], predicted["network"][kin], "family"
            ),
            "family, rows of Orin": error_table(known_rows, known, "family"),
        },
        scaling=clock_scaling(known_rows, known),
        rows=len(rows),
    )


def _short(value: float) -> float:
    return float(f"{value:.4g}")
