"""From a finished training to its record: how long, how much memory, how strong the pairs were."""

import resource
from pathlib import Path
from typing import Any

import torch
from mmengine.dist import is_main_process

from kd3d.distill.cache import CACHE_FILL
from kd3d.evaluation.accuracy import config_hash
from kd3d.profiling.environment import environment
from kd3d.report.record import TRAINING_FILE, Record


def write_training_record(
    runner: Any, work_dir: str | Path, *, role: str = "", name: str = ""
) -> Path | None:
    """Writes ``record-training.json`` after ``Runner.train()``; None on all but the main process.

    Metrics: ``iterations``, ``seconds_per_iter`` (median, data loading included),
    ``peak_memory_mb`` (of the GPU, or of the process), ``lr``, and of a distilled run the mean
    ``gradient_share/<pair>`` and ``gradient_scale``: |task + pairs| / |task| of the student's
    gradients, from which the control twin is made. Conditions: how many frames the training
    set has with labels, and without; ``cache_fill_seconds`` that a teacher's cache took to fill,
    which the median of the iterations leaves out where most of them only read it.
    """
    if not is_main_process():
        return None
    scalars = runner.message_hub.log_scalars
    metrics = {"iterations": float(runner.iter), "peak_memory_mb": _peak_memory_mb()}
    if "train/time" in scalars:
        times = sorted(float(value) for value in scalars["train/time"].data[0])
        metrics["seconds_per_iter"] = times[len(times) // 2]
    scale = 0.0
    for key, history in scalars.items():
        _, _, metric = key.partition("/")
        if metric.startswith("gradient_share/"):
            metrics[metric] = float(history.data[0].mean())
        elif metric == "gradient_scale":  # of one teacher; several add to the same gradient
            scale += float(history.data[0].mean()) - 1.0
            metrics["gradient_scale"] = 1.0 + scale
    fill_s = runner.message_hub.runtime_info.get(CACHE_FILL)
    labelled, unlabelled = frames_of(runner.train_dataloader.dataset)
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
            **({} if fill_s is None else {CACHE_FILL: round(float(fill_s), 1)}),
        },
    )
    return record.write(Path(work_dir) / TRAINING_FILE)


def frames_of(dataset: Any) -> tuple[int, int]:  # Any: untyped libraries
    """(frames with labels, frames without) of a dataset, however it is wrapped or repeated."""
    if type(dataset).__name__ == "Unlabelled":
        return 0, len(dataset)
    parts = getattr(dataset, "datasets", None)
    if parts is None:
        inner = getattr(dataset, "dataset", None)
        return (len(dataset), 0) if inner is None else frames_of(inner)
    counts = [frames_of(part) for part in parts]
    return sum(labelled for labelled, _ in counts), sum(without for _, without in counts)


def _peak_memory_mb() -> float:
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10  # Linux counts in KiB
