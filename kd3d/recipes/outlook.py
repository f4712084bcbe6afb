"""How long the rest takes, estimated from what was done so far."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import mean

_EXPORT_S = 30.0  # export, parity and latency of one model, until there is a measured one


@dataclass(frozen=True)
class Activity:
    """A command at work.

    Attributes:
        name: of its task, such as "distilled/seed0".
        elapsed_s: since the command began.
        fraction: done of it, in [0, 1]; 0 where it does not say.
        trains: whether it is a training.
    """

    name: str
    elapsed_s: float
    fraction: float
    trains: bool = False


class Outlook:
    """Estimates the rest of a recipe: the runs at work, those to come, and the exports.

    A run to come takes as long a step as the runs of its kind (teacher or student) took; before
    one of them has begun, as long in all as the others.
    """

    def __init__(self, lengths: Mapping[str, float], *, jobs: int = 1, exports: int = 0) -> None:
        """Starts with nothing done.

        Args:
            lengths: run -> length of its training, in iterations or epochs; 0 for an evaluation
                alone, which counts as nothing.
            jobs: runs at a time.
            exports: models to be exported afterwards.
        """
        self._lengths = {name: length for name, length in lengths.items() if length}
        self._jobs, self._after_s, self._total = jobs, exports * _EXPORT_S, len(lengths)
        self._ended: set[str] = set()
        self._whole_s: dict[str, float] = {}  # of runs that have ended, or trained for a while

    def end(self, name: str, duration_s: float) -> None:
        """Notes that a run has ended."""
        self._ended.add(name)
        if name in self._lengths:
            self._whole_s[name] = duration_s

    def text(self, active: Sequence[Activity]) -> str:
        """Such as " | 1 of 7 runs done, about 4 min 10 s left"; without an estimate at first."""
        done = f" | {len(self._ended)} of {self._total} runs done"
        at_work = {activity.name: activity for activity in active}
        for name, activity in at_work.items():
            if activity.trains and activity.fraction >= 0.02 and name in self._lengths:
                self._whole_s[name] = activity.elapsed_s / activity.fraction
        if not self._whole_s:
            return done
        left_s = self._after_s
        for name in self._lengths.keys() - self._ended:
            left_s += self._left_s(name, at_work.get(name)) / self._jobs
        return f"{done}, about {minutes(left_s)} left"

    def _left_s(self, name: str, activity: Activity | None) -> float:
        if activity is None:
            return self._expected_s(name)
        if not activity.trains:
            return 0.0  # its evaluation is short beside its training
        return max(0.0, self._expected_s(name) - activity.elapsed_s)

    def _expected_s(self, name: str) -> float:
        if name in self._whole_s:
            return self._whole_s[name]
        steps_s = [
            value / self._lengths[other]
            for other, value in self._whole_s.items()
            if _kind(other) == _kind(name)
        ]
        return mean(steps_s) * self._lengths[name] if steps_s else mean(self._whole_s.values())


def one_command(active: Sequence[Activity]) -> str:
    """The rest of a command that runs alone; empty where it says nothing of its progress."""
    if len(active) != 1 or active[0].fraction < 0.02:
        return ""
    whole_s = active[0].elapsed_s / active[0].fraction
    return f" | about {minutes(whole_s - active[0].elapsed_s)} left of it"


def minutes(duration_s: float) -> str:
    """A duration in words.

    >>> minutes(75), minutes(3725)
    ('1 min 15 s', '1 h 02 min')
    """
    whole, seconds = divmod(round(duration_s), 60)
    hours, whole = divmod(whole, 60)
    return f"{hours} h {whole:02} min" if hours else f"{whole} min {seconds:02} s"


def _kind(name: str) -> str:
    return "teacher" if name == "teacher" else "student"
