"""Cost of distillation in a training step: time and memory of three arms, measured side by side."""

import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from kd3d.profiling.costs.step_memory import peak_step_bytes
from kd3d.profiling.costs.training_arms import Comparison

COMPARED = (("floor", "student"), ("kd3d", "student"), ("kd3d", "floor"))


@dataclass(frozen=True)
class Spread:
    """Median and quartiles."""

    median: float
    p25: float
    p75: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        """Summarises two values or more."""
        p25, median, p75 = statistics.quantiles(values, n=4, method="inclusive")
        return cls(median, p25, p75)


@dataclass(frozen=True)
class TrainingCost:
    """What was measured.

    Attributes:
        seconds: by arm and by part, one time a round; index i is the same round in all.
        cpu_seconds: likewise, of the processor: what other processes take is not in it.
        peak_mb: by arm: weights, optimizer state and the peak within a step, in MiB.
    """

    seconds: dict[str, list[float]]
    cpu_seconds: dict[str, list[float]]
    peak_mb: dict[str, float]

    def time(self, name: str) -> Spread:
        """Seconds of an arm or a part."""
        return Spread.of(self.seconds[name])

    def cpu_time(self, name: str) -> Spread:
        """Processor seconds of an arm or a part."""
        return Spread.of(self.cpu_seconds[name])

    def time_ratio(self, name: str, to: str) -> Spread:
        """Of one arm's time to another's, round by round, so that a slow minute cancels out."""
        return _ratio(self.seconds[name], self.seconds[to])

    def cpu_time_ratio(self, name: str, to: str) -> Spread:
        """Likewise of processor time: the one to read on a busy machine without a GPU."""
        return _ratio(self.cpu_seconds[name], self.cpu_seconds[to])

    def peak_ratio(self, name: str, to: str) -> float:
        """Of one arm's peak memory to another's."""
        return self.peak_mb[name] / self.peak_mb[to]

    def metrics(self) -> dict[str, float]:
        """Everything as the metrics of a Record; the plain names are those of kd3d."""
        found = {
            "seconds_per_iter": self.time("kd3d").median,
            "peak_memory_mb": self.peak_mb["kd3d"],
            "iterations": float(len(self.seconds["kd3d"])),
        }
        for arm, peak in self.peak_mb.items():
            found[f"peak_memory_mb/{arm}"] = peak
        for name in self.seconds:
            found[f"seconds/{name}"] = self.time(name).median
            found[f"cpu_seconds/{name}"] = self.cpu_time(name).median
        for one, other in COMPARED:
            of = f"{one}/{other}"
            found[f"memory_ratio/{of}"] = self.peak_ratio(one, other)
            for kind, ratio in (
                ("time_ratio", self.time_ratio(one, other)),
                ("cpu_time_ratio", self.cpu_time_ratio(one, other)),
            ):
                found[f"{kind}/{of}"] = ratio.median
                found[f"{kind}/{of}/p25"] = ratio.p25
                found[f"{kind}/{of}/p75"] = ratio.p75
        return found


def measure_training_cost(
    comparison: Comparison,
    *,
    rounds: int,
    warmup: int = 3,
    progress: Callable[[int, int], None] | None = None,
) -> TrainingCost:
    """Times all arms and parts in turn, round after round, then each arm's memory once.

    Args:
        comparison: the arms, attached.
        rounds: measured, at least 2.
        warmup: rounds before them that do not count.
        progress: called with (done, total) after each round.
    """
    steps = {name: arm.step for name, arm in comparison.arms.items()} | comparison.parts
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    cpu_seconds: dict[str, list[float]] = {name: [] for name in steps}
    for done in range(-warmup, rounds):
        for name, step in steps.items():
            wall, cpu = _timed(step, comparison.device)
            if done >= 0:
                seconds[name].append(wall)
                cpu_seconds[name].append(cpu)
        if progress is not None:
            progress(done + warmup + 1, warmup + rounds)
    peak_mb = {
        name: (arm.resident_bytes() + peak_step_bytes(arm.step, comparison.device)) / 2**20
        for name, arm in comparison.arms.items()
    }
    return TrainingCost(seconds, cpu_seconds, peak_mb)


def show_rounds(done: int, total: int) -> None:
    """One line of a terminal that is written over."""
    if sys.stderr.isatty():
        print(f"\rround {done} of {total}", end="\n" if done == total else "", file=sys.stderr)


def _timed(step: Callable[[], object], device: torch.device) -> tuple[float, float]:
    _synchronize(device)
    wall, cpu = time.perf_counter(), time.process_time()
    step()
    _synchronize(device)
    return time.perf_counter() - wall, time.process_time() - cpu


def _synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _ratio(values: Sequence[float], to: Sequence[float]) -> Spread:
    return Spread.of([one / other for one, other in zip(values, to, strict=True)])
