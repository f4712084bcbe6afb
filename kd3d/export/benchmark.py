"""Latency of an export folder in a backend, as a Record."""

import time
from pathlib import Path

from kd3d.backends.base import Backend
from kd3d.errors import UserError
from kd3d.export.manifest import MODEL_FILE, Manifest
from kd3d.export.open_backend import open_backend
from kd3d.export.proof import RECORD, random_images
from kd3d.profiling.environment import environment
from kd3d.profiling.latency import (
    LEAST_ITERATIONS,
    Clock,
    Latency,
    Progress,
    measure_latency,
)
from kd3d.report.record import Record


def benchmark_export(
    folder: str | Path,
    backend_name: str,
    *,
    iterations: int = LEAST_ITERATIONS,
    threads: int | None = None,
    batch: int | None = None,
    progress: Progress | None = None,
    clock: Clock = time.perf_counter_ns,
) -> Record:
    """Measures one backend on random images; role and name come from record-export.json.

    Timed is ``Backend.infer``: arrays in, network and box decoding, arrays out; no preprocessing,
    no NMS.

    Args:
        folder: written by tools/export.py.
        backend_name: "onnxruntime" or "pytorch".
        iterations: measured runs, at least 200.
        threads: of the backend, None for its own choice.
        batch: images a run; None for the file's own, or 1 where it takes any.
        progress: told (done, all) between runs.
        clock: nanoseconds.

    Raises:
        UserError: for a folder, backend, batch or number of iterations that cannot be used.
    """
    if iterations < LEAST_ITERATIONS:
        raise UserError(f"{iterations} iterations: expected at least {LEAST_ITERATIONS}")
    manifest = Manifest.read(folder)
    if batch is not None and (batch < 1 or manifest.batch not in (None, batch)):
        taken = manifest.batch or "any from 1"
        raise UserError(f"batch {batch}: {folder} takes {taken}; export it with --batch {batch}")
    images = random_images(manifest, 1)[0]
    if manifest.batch is None:
        images = images.repeat(batch or 1, axis=0)
    feeds = {manifest.input_name: images}
    with open_backend(folder, backend_name, threads=threads) as backend:
        latency = measure_latency(
            lambda: backend.infer(feeds),
            iterations=iterations,
            batch=len(images),
            clock=clock,
            progress=progress,
        )
    return _record(Path(folder), manifest, backend, latency, threads)


def latency_file(folder: str | Path, backend_name: str) -> Path:
    """Where the record of a backend lies in an export folder."""
    return Path(folder) / f"record-latency-{backend_name}.json"


def _record(
    folder: Path, manifest: Manifest, backend: Backend, latency: Latency, threads: int | None
) -> Record:
    export = Record.read(folder / RECORD) if (folder / RECORD).is_file() else None
    return Record(
        kind="latency",
        role=export.role if export else "",
        name=export.name if export else "",
        metrics=latency.metrics(),
        config=manifest.config,
        config_hash=manifest.config_hash,
        checkpoint=manifest.checkpoint,
        checkpoint_hash=manifest.checkpoint_hash,
        parameters=manifest.parameters,
        files={"model": MODEL_FILE},
        environment=environment(),
        conditions={
            "backend": backend.name,
            "device": backend.device,
            "precision": "float32",
            "input": "x".join(str(size) for size in manifest.input_size),
            "batch": latency.batch,
            "threads": threads or "default",
            "timed": "network and box decoding, without preprocessing and NMS",
            "clock": "time.perf_counter_ns",
            "warmup_runs": latency.warmup_runs,
            "steady": latency.steady,
        },
    )
