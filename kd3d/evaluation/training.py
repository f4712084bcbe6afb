"""From a finished training to its record: how long, how much memory, how strong the pairs were."""

import resource
from collections.abc import Mapping, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any

import torch
from mmengine.dist import is_main_process

from kd3d.datasets.frame_counts import count_frames
from kd3d.distill.cache import CACHE_FILL
from kd3d.evaluation.accuracy import config_hash
from kd3d.profiling.environment import environment
from kd3d.report.record import TRAINING_FILE, Record


def write_training_record(
    runner: Any, work_dir: str | Path, *, role: str = "", name: str = ""
) -> Path | None:
    """Writes ``record-training.json`` after ``Runner.train()``; None on all but the main process.

    Metrics: ``iterations``, ``seconds_per_iter`` (median, with data loading and without what
    filled a teacher's cache), ``peak_memory_mb`` (of the GPU, or of the process), ``lr``, and of a
    distilled run the mean ``gradient_share/<pair>`` and ``gradient_scale``: |task + pairs| / |task|
    of the student's gradients, from which the control twin is made. Conditions: how many frames the
    training set has with labels, and without; ``cache_fill_seconds`` that all iterations together
    spent on filling a teacher's cache.
    """
    if not is_main_process():
        return None
    scalars = runner.message_hub.log_scalars
    fills = cache_fills(scalars)
    metrics = {"iterations": float(runner.iter), "peak_memory_mb": _peak_memory_mb()}
    if "train/time" in scalars:
        metrics["seconds_per_iter"] = median_step_s(scalars["train/time"].data[0], fills)
    scale = 0.0
    for key, history in scalars.items():
        _, _, metric = key.partition("/")
        if metric.startswith("gradient_share/"):
            metrics[metric] = float(history.data[0].mean())
        elif metric == "gradient_scale":  # of one teacher; several add to the same gradient
            scale += float(history.data[0].mean()) - 1.0
            metrics["gradient_scale"] = 1.0 + scale
    labelled, unlabelled = count_frames(runner.train_dataloader.dataset)
    record = Record(
        kind="training",
        role=role,
        name=name or Path(work_dir).resolve().name,
        metrics=metrics,
        seed=runner.seed,
        config=str(runner.cfg.filename or ""),
        config_hash=config_hash(runner.cfg),
        parameters=sum(parameter.numel() for parameter in runner.model.parameters()),
        environment=environment(),
        conditions={
            "world_size": runner.world_size,
            "max_iters": runner.max_iters,
            "labelled_frames": labelled,
            "unlabelled_frames": unlabelled,
            **({CACHE_FILL: round(sum(fills), 1)} if fills else {}),
        },
    )
    return record.write(Path(work_dir) / TRAINING_FILE)


def cache_fills(scalars: Mapping[str, Any]) -> list[float]:  # Any: MMEngine's histories
    """Seconds that each iteration spent on filling caches, until the last cached teacher stopped.

    Several teachers add up. They run from the first iteration on, so a history that is shorter than
    another ends earlier.
    """
    histories = [scalars[key].data[0] for key in scalars if key.endswith(f"/{CACHE_FILL}")]
    return [float(sum(spent)) for spent in zip_longest(*histories, fillvalue=0.0)]


def median_step_s(times_s: Sequence[float], fills_s: Sequence[float]) -> float:
    """Of all iterations, each without what it spent on filling caches; of an even number the upper.

    Args:
        times_s: of each iteration, at least one.
        fills_s: of the first iterations; those that follow filled nothing.
    """
    steps = zip_longest(times_s, fills_s, fillvalue=0.0)
    own = sorted(float(time_s - fill_s) for time_s, fill_s in steps)
    return own[len(own) // 2]


def _peak_memory_mb() -> float:
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10  # Linux counts in KiB
