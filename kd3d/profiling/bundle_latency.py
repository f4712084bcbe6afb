"""What is measured of a device bundle: its sample as input, and the host's voxelisation.

Runs on the vehicle too: Python 3.8, NumPy and the standard library.
"""

from __future__ import annotations

import time

import numpy as np

from kd3d.backends.base import Backend, Feeds
from kd3d.backends.bundle import Bundle
from kd3d.errors import UserError
from kd3d.export.voxelization import Voxelization, network_feeds
from kd3d.profiling.backend_latency import Arm, Options, Scalar
from kd3d.profiling.latency import LEAST_ITERATIONS, Clock, measure_latency, spread

_TIMED = "network and box decoding, without preprocessing and NMS"
_TIMED_PILLARS = "network and box decoding; voxelisation (NumPy) apart; without NMS"


def arm_from_bundle(bundle: Bundle, backend: Backend, precision: str, options: Options) -> Arm:
    """A backend of a bundle with the bundle's sample as its input.

    Args:
        bundle: what ``backend`` was opened from.
        backend: not yet entered.
        precision: of the backend, for the record.
        options: the batch was checked by ``check_batch``; the sample is repeated to fill it.
    """
    feeds, frames = _inputs(bundle, options.batch)
    conditions: dict[str, Scalar] = {
        "precision": precision,
        "input": str(bundle.manifest["input_text"]),
        "threads": options.threads or "default",
        "timed": _TIMED,
    }
    if "num_points" in feeds:
        pillars = len(feeds["num_points"])
        conditions.update(timed=_TIMED_PILLARS, points=_points(bundle, frames), pillars=pillars)
        conditions["sample"] = str(bundle.manifest.get("sample", ""))
    return Arm(backend, feeds, frames, conditions)


def check_batch(bundle: Bundle, backend: str, batch: int | None) -> None:
    """Raises a UserError for a batch that the file or the backend's engine does not take.

    Ask before an engine is built, which takes minutes.

    Args:
        bundle: the folder.
        backend: its name; "tensorrt" has bounds where the file takes any number.
        batch: images a run, None for the file's own, or 1.
    """
    if batch is None:
        return
    fixed = bundle.manifest.get("batch")  # None where the file takes any
    if batch < 1:
        raise UserError(f"batch {batch}: expected 1 or more")
    if fixed not in (None, batch):
        raise UserError(
            f"batch {batch}: {bundle.folder} takes {fixed}; export it with --batch {batch}"
        )
    bounds = [profile["max"][0] for profile in bundle.profiles.values()]
    if fixed is None and backend == "tensorrt" and bounds and batch > min(bounds):
        raise UserError(
            f"batch {batch}: an engine of {bundle.folder} takes 1 to {min(bounds)}; "
            f"export it with --batch {batch}"
        )


def check_options(options: Options) -> None:
    """Raises UserError for fewer iterations than the protocol asks for, or a number of no threads.

    ONNX Runtime takes any number of threads, but not each can be recorded.
    """
    iterations, threads = options.iterations, options.threads
    if iterations < LEAST_ITERATIONS:
        raise UserError(f"{iterations} iterations: expected at least {LEAST_ITERATIONS}")
    if threads is not None and threads < 1:
        raise UserError(f"{threads} threads: expected 1 or more, or none for the backend's choice")


def measure_voxelization(
    bundle: Bundle, *, clock: Clock = time.perf_counter_ns
) -> dict[str, float]:
    """voxelization_p50_ms and so on: points to the network's inputs, on the host, in NumPy.

    Empty where the network reads images.
    """
    points, settings = bundle.sample_points(), bundle.manifest.get("voxelization")
    if points is None or settings is None:
        return {}
    frames = [points] * int(bundle.manifest["batch"])
    grid = Voxelization.from_json(settings)
    found = measure_latency(lambda: network_feeds(frames, grid), batch=len(frames), clock=clock)
    mean_ms = float(np.mean(found.times_ms))
    return {**spread(found.times_ms, "voxelization_"), "voxelization_mean_ms": mean_ms}


def _inputs(bundle: Bundle, batch: int | None) -> tuple[Feeds, int]:
    """What the network reads in a run, and how many images or frames that is."""
    feeds = bundle.sample_feeds()
    fixed = bundle.manifest.get("batch")  # None where the file takes any
    if fixed is not None:
        return feeds, int(fixed)
    count = batch or 1
    return {name: np.repeat(array[:1], count, axis=0) for name, array in feeds.items()}, count


def _points(bundle: Bundle, frames: int) -> int:
    points = bundle.sample_points()
    return 0 if points is None else len(points) * frames
