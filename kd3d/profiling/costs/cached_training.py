"""Training steps with a live and with a cached teacher, side by side on the same batches."""

import copy
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.dist import get_world_size
from mmengine.optim import build_optim_wrapper
from mmengine.runner import Runner

from kd3d.configs import distill_hooks, type_name
from kd3d.distill.cache import CachedTeacher
from kd3d.distill.cache_setup import DETERMINISTIC
from kd3d.distill.distiller import Distiller
from kd3d.distill.hook import DistillHook
from kd3d.distill.point_loading import pipelines
from kd3d.errors import UserError
from kd3d.profiling.costs.training_arms import InsteadOfTraining
from kd3d.profiling.costs.training_cost import Spread

ARMS = ("student", "live", "cached")
# So small that the weights stay together: the losses of two arms are of the same weights.
_LEARNING_RATE = 1e-6


@dataclass(frozen=True)
class CachedTraining:
    """What was measured.

    Attributes:
        seconds: of a step, by arm, one a round: "student" is the student's own step without any
            teacher, "live" runs the teacher, "cached" reads it.
        cpu_seconds: likewise of the processor.
        losses: of each round, by arm ("live", "cached") and name.
        entry_mb: on disk, of a frame.
        batch: frames a step.
    """

    seconds: dict[str, list[float]]
    cpu_seconds: dict[str, list[float]]
    losses: dict[str, list[dict[str, float]]]
    entry_mb: float
    batch: int

    def throughput(self, arm: str) -> float:
        """Frames a second, at the median step."""
        return self.batch / Spread.of(self.seconds[arm]).median

    def speedup(self, *, cpu: bool = False) -> Spread:
        """Of cached over live, round by round, so that a slow minute cancels out."""
        times = self.cpu_seconds if cpu else self.seconds
        pairs = zip(times["live"], times["cached"], strict=True)
        return Spread.of([live / cached for live, cached in pairs])

    @property
    def largest_difference(self) -> float:
        """Relative, of any loss in any round."""
        return max(
            abs(live[name] - cached[name]) / max(abs(live[name]), 1e-12)
            for live, cached in zip(self.losses["live"], self.losses["cached"], strict=True)
            for name in live
        )


def replayed(config: Config) -> Config:
    """The config with every train pipeline's random steps in ReplayedAugmentation.

    Pipelines that have one already stay as they are.
    """
    changed = copy.deepcopy(config)
    for steps in pipelines(changed.train_dataloader):
        kinds = [type_name(step) for step in steps]
        if "ReplayedAugmentation" not in kinds:
            first = next(i for i, kind in enumerate(kinds) if kind not in DETERMINISTIC)
            inside = [dict(step) for step in steps[first:]]
            steps[first:] = [  # type: ignore[index]
                {"type": "ReplayedAugmentation", "variants": 1, "transforms": inside}
            ]
    return changed


def measure_cached_training(
    config: Config,
    *,
    rounds: int,
    batches: int = 4,
    warmup: int = 2,
    progress: Callable[[int, int], None] | None = None,
) -> CachedTraining:
    """Trains three copies of the student in turn, on a few batches again and again.

    Loading of frames is outside of what is timed. The cache lies in a temporary folder and is
    filled before.

    Args:
        config: with one DistillHook, and ReplayedAugmentation in its train pipelines.
        rounds: measured, at least 2.
        batches: different ones.
        warmup: rounds that do not count.
        progress: called with (done, total) after each round.

    Raises:
        UserError: no DistillHook, or several.
    """
    found: list[CachedTraining] = []
    with tempfile.TemporaryDirectory() as folder:
        cache = {"dir": f"{folder}/cache", "max_gb": 1000.0}

        def with_live(live: Any) -> None:
            def with_cached(cached: Any) -> None:
                found.append(_measured(live, cached, rounds, batches, warmup, progress))

            _before_training(_arm(config, cache), f"{folder}/cached", with_cached)

        _before_training(_arm(config, None), f"{folder}/live", with_live)
    return found[0]


def _arm(config: Config, cache: Mapping[str, Any] | None) -> Config:
    arm = copy.deepcopy(config)
    hooks = distill_hooks(arm)
    if len(hooks) != 1:
        raise UserError(
            f"{config.filename}: has {len(hooks)} DistillHooks, expected one; a cache is measured "
            "for one teacher"
        )
    hooks[0].teacher.cache = cache
    hooks[0].gradient_points = 0
    arm.optim_wrapper.optimizer.lr = _LEARNING_RATE
    arm.param_scheduler = None
    arm.randomness = {"seed": 0}  # the same weights in all arms
    return arm


def _before_training(config: Config, folder: str, use: Callable[[Any], None]) -> None:
    config.work_dir, config.experiment_name = folder, Path(folder).as_posix().replace("/", "_")
    config.log_level = "ERROR"
    for part in ("dataloader", "cfg", "evaluator"):
        config[f"val_{part}"] = config[f"test_{part}"] = None
    runner = Runner.from_cfg(config)
    runner.register_hook(InsteadOfTraining(use))
    runner.train()


def _measured(
    live: Any,
    cached: Any,
    rounds: int,
    batches: int,
    warmup: int,
    progress: Callable[[int, int], None] | None,
) -> CachedTraining:
    data = list(islice(_forever(live.train_dataloader), batches))
    distiller = _distiller(cached)
    teacher = distiller.teacher
    assert isinstance(teacher, CachedTeacher)
    for batch in data:
        made = cached.model.data_preprocessor(batch, False)
        teacher.features(made["inputs"], made["data_samples"])
    steps: dict[str, Callable[[Any], Mapping[str, Any]]] = {
        "student": _plain_step(live),
        "live": lambda batch: live.model.train_step(batch, live.optim_wrapper),
        "cached": lambda batch: cached.model.train_step(batch, cached.optim_wrapper),
    }
    seconds: dict[str, list[float]] = {arm: [] for arm in ARMS}
    cpu_seconds: dict[str, list[float]] = {arm: [] for arm in ARMS}
    losses: dict[str, list[dict[str, float]]] = {"live": [], "cached": []}
    for done in range(-warmup, rounds):
        batch = data[done % len(data)]
        for arm, step in steps.items():
            start, cpu_start = time.perf_counter(), time.process_time()
            outputs = step(copy.deepcopy(batch))
            values = {name: float(value.detach()) for name, value in outputs.items()}
            if done >= 0:
                seconds[arm].append(time.perf_counter() - start)
                cpu_seconds[arm].append(time.process_time() - cpu_start)
                if arm in losses:
                    losses[arm].append(values)
        if progress is not None:
            progress(done + warmup + 1, warmup + rounds)
    entries = max(len(teacher.store), 1)
    size_mb = teacher.store.size_bytes / entries / 1e6
    return CachedTraining(
        seconds, cpu_seconds, losses, size_mb, len(data[0]["data_samples"]) * get_world_size()
    )


def _plain_step(runner: Any) -> Callable[[Any], Mapping[str, Any]]:
    """A copy of the student: hooks on it ignore a copy."""
    student = copy.deepcopy(runner.model)
    wrapper: Any = build_optim_wrapper(student, copy.deepcopy(runner.cfg.optim_wrapper))

    def step(batch: Any) -> Mapping[str, Any]:
        losses: Mapping[str, Any] = student.train_step(batch, wrapper)
        return losses

    return step


def _distiller(runner: Any) -> Distiller:
    return next(hook for hook in runner.hooks if isinstance(hook, DistillHook)).distiller


def _forever(loader: Sequence[Any]) -> Iterator[Any]:
    while True:
        yield from loader
