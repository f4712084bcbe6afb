"""Latency of an export folder in a backend, as a Record."""

import time
from dataclasses import replace
from pathlib import Path

from kd3d.backends.base import Backend, Feeds
from kd3d.errors import UserError
from kd3d.export.manifest import MODEL_FILE, Manifest
from kd3d.export.open_backend import open_backend
from kd3d.export.pillar_export import sample_points
from kd3d.export.pillar_manifest import PillarManifest, read_manifest
from kd3d.export.proof import RECORD, random_images
from kd3d.export.voxelization import network_feeds
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
    """Measures one backend; role and name come from record-export.json.

    Timed is ``Backend.infer``: arrays in, network and box decoding, arrays out; no preprocessing,
    no NMS. The input is random images, or the pillars of the export's sample frame; for these the
    host's voxelisation is timed by itself and recorded as ``voxelization_p50_ms`` and so on.

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
    manifest = read_manifest(folder)
    if batch is not None and (batch < 1 or manifest.batch not in (None, batch)):
        taken = manifest.batch or "any from 1"
        raise UserError(f"batch {batch}: {folder} takes {taken}; export it with --batch {batch}")
    feeds, frames = _inputs(Path(folder), manifest, batch)
    with open_backend(folder, backend_name, threads=threads) as backend:
        latency = measure_latency(
            lambda: backend.infer(feeds),
            iterations=iterations,
            batch=frames,
            clock=clock,
            progress=progress,
        )
    record = _record(Path(folder), manifest, backend, latency, threads)
    if isinstance(manifest, PillarManifest):
        record = _with_voxelization(record, Path(folder), manifest, feeds, clock)
    return record


def latency_file(folder: str | Path, backend_name: str) -> Path:
    """Where the record of a backend lies in an export folder."""
    return Path(folder) / f"record-latency-{backend_name}.json"


def _inputs(
    folder: Path, manifest: Manifest | PillarManifest, batch: int | None
) -> tuple[Feeds, int]:
    """What the network reads in a run, and how many images or frames that is."""
    if isinstance(manifest, PillarManifest):
        clouds = [sample_points(folder)] * manifest.batch
        return network_feeds(clouds, manifest.voxelization), manifest.batch
    images = random_images(manifest, 1)[0]
    if manifest.batch is None:
        images = images.repeat(batch or 1, axis=0)
    return {manifest.input_name: images}, len(images)


def _with_voxelization(
    record: Record, folder: Path, manifest: PillarManifest, feeds: Feeds, clock: Clock
) -> Record:
    """The record with the host's part of a run, timed by the same protocol."""
    clouds = [sample_points(folder)] * manifest.batch
    host = measure_latency(
        lambda: network_feeds(clouds, manifest.voxelization), batch=manifest.batch, clock=clock
    ).metrics()
    names = ("p50_ms", "p90_ms", "p99_ms", "mean_ms")
    return replace(
        record,
        metrics={**record.metrics, **{f"voxelization_{name}": host[name] for name in names}},
        conditions={
            **record.conditions,
            "timed": "network and box decoding; voxelisation (NumPy) apart; without NMS",
            "sample": manifest.sample,
            "points": sum(len(cloud) for cloud in clouds),
            "pillars": len(feeds["num_points"]),
        },
    )


def _record(
    folder: Path,
    manifest: Manifest | PillarManifest,
    backend: Backend,
    latency: Latency,
    threads: int | None,
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
            "input": manifest.input_text,
            "batch": latency.batch,
            "threads": threads or "default",
            "timed": "network and box decoding, without preprocessing and NMS",
            "clock": "time.perf_counter_ns",
            "warmup_runs": latency.warmup_runs,
            "steady": latency.steady,
        },
    )
