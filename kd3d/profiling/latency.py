"""Latency by one protocol on every machine: warm up until steady, then measure each run.

Several things are measured in turns, so that a machine that is slow for a while is slow for all of
them and their ratios hold. Runs on the vehicle too: Python 3.8, NumPy and the standard library.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import Callable, Sequence  # noqa: UP035  (evaluated; the vehicle runs Python 3.8)

import numpy as np

PROTOCOL = "kd3d latency 3"  # changes whenever what is timed or how changes
LEAST_ITERATIONS = 200  # below it a p99 would rest on a single run
TURNS = 10  # of several things, each with a share of the iterations
SETTLING_RUNS = 3  # after a change of turn, not counted: caches are the other one's

Run = Callable[[], object]
Clock = Callable[[], int]
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Warmup:
    """When a run counts as steady: the median of a window hardly differs from the one before.

    Windows span time as well as runs: the clocks of a board climb for about a second, in which a
    fast network runs hundreds of times.

    Attributes:
        window: runs of a window, at least.
        window_s: seconds that they take together, at least.
        tolerance: largest change of the median from one window to the next, as a share.
        least_s: seconds that a warm-up takes, at least.
        limit: runs, and
        limit_s: seconds, after both of which measuring starts all the same (and says so).
    """

    window: int = 10
    window_s: float = 0.25
    tolerance: float = 0.05
    least_s: float = 1.0
    limit: int = 200
    limit_s: float = 10.0


@dataclass(frozen=True)
class Latency:
    """What was measured.

    Attributes:
        times_ms: of each measured run.
        warmup_runs: runs before them.
        steady: whether the warm-up ended because the times were steady.
        batch: images a run.
    """

    times_ms: Sequence[float]
    warmup_runs: int
    steady: bool
    batch: int

    @property
    def drift(self) -> float:
        """As of ``drift``."""
        return drift(self.times_ms)

    def metrics(self) -> dict[str, float]:
        """``spread`` with mean_ms of a run, throughput_fps in images, and iterations."""
        mean_ms = float(np.mean(self.times_ms))
        return {
            **spread(self.times_ms),
            "mean_ms": mean_ms,
            "throughput_fps": self.batch * 1e3 / mean_ms,
            "iterations": float(len(self.times_ms)),
        }


def spread(times_ms: Sequence[float], prefix: str = "") -> dict[str, float]:
    """min_ms, p50_ms, p90_ms, p99_ms, max_ms and jitter_ms, each with a prefix.

    The minimum is what other programs on the machine disturb least, and no promise to anybody.
    The jitter is the mean difference between one run and the next: what a frame's age varies by
    from frame to frame. It is 0 for a single run.
    """
    times = np.asarray(times_ms, dtype=float)
    steps = np.abs(np.diff(times))
    found = {"min_ms": float(times.min())}
    found.update({f"p{q}_ms": float(np.percentile(times, q)) for q in (50, 90, 99)})
    found["max_ms"] = float(times.max())
    found["jitter_ms"] = float(steps.mean()) if len(steps) else 0.0
    return {f"{prefix}{name}": value for name, value in found.items()}


def drift(times_ms: Sequence[float]) -> float:
    """By what share the median of the last quarter of the runs is above that of the first."""
    quarter = max(1, len(times_ms) // 4)
    first, last = (float(np.median(part)) for part in (times_ms[:quarter], times_ms[-quarter:]))
    return last / first - 1.0 if first else 0.0


def measure_latency(
    run: Run,
    *,
    iterations: int = LEAST_ITERATIONS,
    batch: int = 1,
    warmup: Warmup | None = None,
    clock: Clock = time.perf_counter_ns,
    progress: Progress | None = None,
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
    (found,) = measure_in_turns(
        [run],
        batches=[batch],
        iterations=iterations,
        warmup=warmup,
        clock=clock,
        progress=progress,
    )
    return found


def measure_in_turns(
    runs: Sequence[Run],
    *,
    batches: Sequence[int],
    iterations: int = LEAST_ITERATIONS,
    turns: int = TURNS,
    warmup: Warmup | None = None,
    clock: Clock = time.perf_counter_ns,
    progress: Progress | None = None,
) -> list[Latency]:
    """Warms up each of ``runs``, then measures them by turns; the order turns round each time.

    A single run has no turns: it is measured in one go.

    Args:
        runs: as ``run`` of ``measure_latency``.
        batches: images that each of them takes.
        iterations: measured runs of each, at least 200.
        turns: into how many parts the iterations are divided.
        warmup: when times are steady.
        clock: nanoseconds that only grow.
        progress: told (measured runs, all) after each measured run, outside the measured time.

    Raises:
        ValueError: for fewer than 200 iterations.
    """
    if iterations < LEAST_ITERATIONS:
        raise ValueError(f"expected at least {LEAST_ITERATIONS} iterations, got {iterations}")
    assert len(runs) == len(batches) > 0, (len(runs), len(batches))
    warmups = [_warm_up(run, warmup or Warmup(), clock) for run in runs]
    times_ms: list[list[float]] = [[] for _ in runs]
    alone = len(runs) == 1
    done = 0
    for turn, share in enumerate(_shares(iterations, 1 if alone else turns)):
        order = range(len(runs)) if turn % 2 == 0 else reversed(range(len(runs)))
        for index in order:
            for _ in range(0 if alone else SETTLING_RUNS):
                runs[index]()
            for _ in range(share):
                times_ms[index].append(_time_ms(runs[index], clock))
                done += 1
                if progress is not None:
                    progress(done, iterations * len(runs))
    return [
        Latency(times, warmup_runs, steady, batch)
        for times, (warmup_runs, steady), batch in zip(times_ms, warmups, batches)  # noqa: B905
    ]


def _warm_up(run: Run, warmup: Warmup, clock: Clock) -> tuple[int, bool]:
    """How many runs it took, and whether they were steady in the end."""
    runs, spent_s, before = 0, 0.0, math.nan
    while True:
        times_ms = _window(run, warmup, clock)
        runs += len(times_ms)
        spent_s += sum(times_ms) / 1e3
        last = float(np.median(times_ms))
        if spent_s >= warmup.least_s and abs(last - before) <= warmup.tolerance * before:
            return runs, True
        if runs >= warmup.limit and spent_s >= warmup.limit_s:
            return runs, False
        before = last


def _window(run: Run, warmup: Warmup, clock: Clock) -> list[float]:
    """Times of as many runs as a window has, ms."""
    times_ms: list[float] = []
    left_ms = 1e3 * warmup.window_s
    while len(times_ms) < warmup.window or left_ms > 0:
        times_ms.append(_time_ms(run, clock))
        left_ms -= times_ms[-1]
    return times_ms


def _shares(iterations: int, turns: int) -> list[int]:
    """Iterations of each turn, as equal as they can be."""
    return [iterations * (n + 1) // turns - iterations * n // turns for n in range(turns)]


def _time_ms(run: Run, clock: Clock) -> float:
    start = clock()
    run()
    return (clock() - start) / 1e6
