"""How much of the gap between a student and its teacher was closed."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from statistics import mean, stdev


@dataclass(frozen=True)
class GapClosed:
    """(distilled - reference) / (teacher - reference), as fractions: 1 reaches the teacher.

    Attributes:
        mean: over seeds; None where it is undefined.
        std: sample standard deviation over seeds; None below two seeds.
        per_seed: the fraction of each seed that both runs have.
        reason: why ``mean`` is None, otherwise empty.
    """

    mean: float | None
    std: float | None
    per_seed: dict[int, float] = field(default_factory=dict)
    reason: str = ""


def gap_closed(
    distilled: Mapping[int, float], reference: Mapping[int, float], teacher: float
) -> GapClosed:
    """Compares distilled runs with their twins, seed by seed.

    Args:
        distilled: seed -> AP of the student trained from the teacher.
        reference: seed -> AP of its twin, the baseline or the control.
        teacher: AP of the teacher, in the same unit.

    Returns:
        The fraction closed. It is undefined, with a reason and no number, where a twin reaches
        its teacher (the denominator is then zero or negative) or where no seed has both runs.

    >>> gap_closed({0: 30.0, 1: 32.0}, {0: 20.0, 1: 24.0}, teacher=40.0)
    GapClosed(mean=0.5, std=0.0, per_seed={0: 0.5, 1: 0.5}, reason='')
    """
    seeds = sorted(distilled.keys() & reference.keys())
    if not seeds:
        return GapClosed(None, None, reason="no seed has both the distilled run and its twin")
    not_below = [seed for seed in seeds if reference[seed] >= teacher]
    if not_below:
        return GapClosed(
            None,
            None,
            reason=f"undefined: the teacher ({teacher:.1f}) is not better than its student trained "
            f"without it ({reference[not_below[0]]:.1f} at seed {not_below[0]})",
        )
    per_seed = {
        seed: (distilled[seed] - reference[seed]) / (teacher - reference[seed]) for seed in seeds
    }
    values = list(per_seed.values())
    return GapClosed(mean(values), stdev(values) if len(values) > 1 else None, per_seed)
