"""Latency by one protocol on every machine: warm up until steady, then measure each run.

Runs on the vehicle too: Python 3.8, NumPy and the standard library only.
"""

import time
from dataclasses import dataclass
from typing import Callable, Dict, List, Optional  # noqa: UP035  (the vehicle runs Python 3.8)

import numpy as np

LEAST_ITERATIONS = 200  # below it a p99 would rest on a single run

Clock = Callable[[], int]
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Warmup:
    """When a run counts as steady.

    Attributes:
        window: runs compared at a time.
        tolerance: largest change of the median from one window to the next, as a share.
        limit: runs after which measuring starts all the same (and says so).
    """

    window: int = 10
    tolerance: float = 0.05
    limit: int = 200


@dataclass(frozen=True)
class Latency:
    """What was measured.

    Attributes:
        times_ms: of each measured run.
        warmup_runs: runs before them.
        steady: whether the warm-up ended because the times were steady.
        batch: images a run.
    """

    times_ms: List[float]  # noqa: UP006
    warmup_runs: int
    steady: bool
    batch: int

    def metrics(self) -> Dict[str, float]:  # noqa: UP006
        """p50_ms, p90_ms, p99_ms, mean_ms of a run; throughput_fps in images; iterations."""
        times = np.asarray(self.times_ms)
        found = {f"p{q}_ms": float(np.percentile(times, q)) for q in (50, 90, 99)}
        found["mean_ms"] = float(times.mean())
        found["throughput_fps"] = self.batch * 1e3 / found["mean_ms"]
        found["iterations"] = float(len(times))
        return found


def measure_latency(
    run: Callable[[], object],
    *,
    iterations: int = LEAST_ITERATIONS,
    batch: int = 1,
    warmup: Optional[Warmup] = None,  # noqa: UP045
    clock: Clock = time.perf_counter_ns,
    progress: Optional[Progress] = None,  # noqa: UP045
) -> Latency:
    """Calls ``run`` until its times are steady, then ``iterations`` times more.

    Args:
        run: one inference; returns when its outputs are there (so a GPU has finished).
        iterations: measured runs, at least 200.
        batch: images that one run takes, for the throughput.
        warmup: when times are steady.
        clock: nanoseconds that only grow.
        progress: told (measured runs, all) after each measured run, outside the measured time.

    Raises:
        ValueError: for fewer than 200 iterations.
    """
    if iterations < LEAST_ITERATIONS:
        raise ValueError(f"expected at least {LEAST_ITERATIONS} iterations, got {iterations}")
    warmup = warmup or Warmup()
    warmup_ms: List[float] = []  # noqa: UP006
    while not is_steady(warmup_ms, warmup) and len(warmup_ms) < warmup.limit:
        warmup_ms.append(_time_ms(run, clock))
    steady = is_steady(warmup_ms, warmup)
    times_ms: List[float] = []  # noqa: UP006
    for index in range(iterations):
        times_ms.append(_time_ms(run, clock))
        if progress is not None:
            progress(index + 1, iterations)
    return Latency(times_ms, len(warmup_ms), steady, batch)


def is_steady(times_ms: List[float], warmup: Warmup) -> bool:  # noqa: UP006
    """Whether the medians of the last window and the one before differ by at most the tolerance."""
    window = warmup.window
    if len(times_ms) < 2 * window:
        return False
    before = float(np.median(times_ms[-2 * window : -window]))
    last = float(np.median(times_ms[-window:]))
    return abs(last - before) <= warmup.tolerance * before


def _time_ms(run: Callable[[], object], clock: Clock) -> float:
    start = clock()
    run()
    return (clock() - start) / 1e6
