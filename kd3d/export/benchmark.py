"""Latency of export folders in backends and precisions, as Records."""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kd3d.backends.bundle import Bundle
from kd3d.backends.open_bundle import BUNDLE_BACKENDS
from kd3d.backends.ssh import Host, Say
from kd3d.backends.vehicle_cache import SentBytes
from kd3d.errors import UserError
from kd3d.export.open_backend import open_backend
from kd3d.files import writable_path, write_json
from kd3d.profiling.backend_latency import Measured, Options, measure_backends
from kd3d.profiling.bundle_latency import (
    arm_from_bundle,
    check_batch,
    check_options,
    measure_voxelization,
)
from kd3d.profiling.latency import Clock, Progress
from kd3d.profiling.remote_latency import measure_on_host
from kd3d.report.record import EXPORT_FILE, Record


@dataclass(frozen=True)
class Job:
    """One latency to be measured.

    Attributes:
        folder: written by tools/export.py.
        backend: "tensorrt", "onnxruntime" or "pytorch".
        precision: "fp32", "fp16" or "int8".
        host: the vehicle's name, empty for this machine.
        settings: which are not the defaults, "threads2-batch4": another measurement, whose
            record stands beside that of the defaults.
    """

    folder: Path
    backend: str
    precision: str = "fp32"
    host: str = ""
    settings: str = ""

    @property
    def record_file(self) -> Path:
        """Where its record lies, in the folder."""
        parts = ["record-latency", self.backend]
        parts += [self.precision] if self.precision != "fp32" else []
        parts += [self.settings] if self.settings else []
        parts += ["on", self.host] if self.host else []
        return self.folder / f"{'-'.join(parts)}.json"

    @property
    def layers_file(self) -> Path:
        """Where the times of its layers lie."""
        return self.record_file.with_name(self.record_file.name.replace("record-latency", "layers"))

    def __str__(self) -> str:
        return f"{self.folder.name}: {self.backend} {self.precision}"


def jobs_of(
    folders: Sequence[Path],
    backends: Sequence[str],
    precisions: Sequence[str],
    host: str = "",
    settings: Mapping[str, int | None] | None = None,
) -> list[Job]:
    """Every combination once, but those of PyTorch with another precision than fp32.

    Args:
        folders: written by tools/export.py.
        backends: of each.
        precisions: of each.
        host: the vehicle's name, empty for this machine.
        settings: "threads", "batch", "graph" and their values; 0 or None is the default.

    Raises:
        UserError: if nothing is left.
    """

    def combinations() -> Iterator[Job]:
        for folder in folders:
            for backend in backends:
                for precision in precisions:
                    if backend != "pytorch" or precision == "fp32":
                        yield Job(folder, backend, precision, host, text)

    changed = {name: value for name, value in (settings or {}).items() if value}
    text = "-".join(name if value is True else f"{name}{value}" for name, value in changed.items())
    jobs = list(dict.fromkeys(combinations()))
    if not jobs:
        raise UserError("PyTorch runs an export in fp32 only; expected --precision fp32")
    return jobs


def check_records(jobs: Sequence[Job], *, force: bool) -> None:
    """Raises a UserError where a record cannot be written or, without ``force``, is there."""
    existing = [job.record_file for job in jobs if job.record_file.exists()]
    if existing and not force:
        raise UserError(f"{existing[0]} exists; measure again with --force")
    for job in jobs:
        writable_path(job.record_file, "records go beside the model: copy the folder elsewhere")


def benchmark_exports(
    jobs: Sequence[Job],
    options: Options | None = None,
    *,
    progress: Progress | None = None,
    clock: Clock = time.perf_counter_ns,
) -> list[Record]:
    """Measures jobs on this machine, in turns; role and name come from record-export.json.

    Timed is ``Backend.infer``: arrays in, network and box decoding, arrays out; no preprocessing,
    no NMS. The input is the export's sample. Where the network reads pillars, the host's
    voxelisation is timed by itself and recorded as ``voxelization_p50_ms`` and so on.

    Args:
        jobs: at least one, all without a host.
        options: what is measured.
        progress: told (done, all) between runs.
        clock: nanoseconds.

    Returns:
        One record for each job.

    Raises:
        UserError: for a folder, backend, precision, option, batch or number of iterations or
            threads that cannot be used.
    """
    options = options or Options()
    check_options(options)
    _check_flags(jobs, options)
    bundles = {job.folder: Bundle.read(job.folder) for job in jobs}
    for job in jobs:
        check_batch(bundles[job.folder], job.backend, options.batch)
    arms = []
    for job in jobs:
        backend = open_backend(
            *(job.folder, job.backend),
            precision=job.precision,
            threads=options.threads,
            exact=False,
            cuda_graph=options.cuda_graph,
        )
        arms.append(arm_from_bundle(bundles[job.folder], backend, job.precision, options))
    measured = measure_backends(arms, options, clock=clock, progress=progress)
    hosts = {
        folder: measure_voxelization(bundle, clock=clock) for folder, bundle in bundles.items()
    }
    for job, one in zip(jobs, measured, strict=True):
        one.metrics.update(hosts[job.folder])
    return [record_of(job, one) for job, one in zip(jobs, measured, strict=True)]


def benchmark_on_host(
    jobs: Sequence[Job],
    host: Host,
    options: Options | None = None,
    *,
    say: Say = print,
    sent: SentBytes | None = None,
    progress: Progress | None = None,
) -> Iterator[Record]:
    """Measures jobs on a vehicle, the folders one after the other, each folder's jobs in turns.

    What is wrong with a folder shows before anything is measured.

    Args:
        jobs: of ``jobs_of``, with the vehicle's name.
        host: the vehicle.
        options: what is measured.
        say: told of lost connections.
        sent: told (bytes sent, bytes that were missing) while copying.
        progress: told (done, all) of each folder.

    Returns:
        One record for each job, those of a folder as soon as it is measured.

    Raises:
        UserError: for a backend that no vehicle has, and whatever goes wrong there.
    """
    options = options or Options()
    unfit = [job.backend for job in jobs if job.backend not in BUNDLE_BACKENDS]
    if unfit:
        expected = " or ".join(BUNDLE_BACKENDS)
        raise UserError(f"--host: {unfit[0]} does not run on a vehicle; expected {expected}")
    check_options(options)
    _check_flags(jobs, options)
    for job in jobs:
        bundle = Bundle.read(job.folder)
        bundle.verify(job.precision)
        check_batch(bundle, job.backend, options.batch)

    def measured() -> Iterator[Record]:
        for folder in dict.fromkeys(job.folder for job in jobs):
            ours = [job for job in jobs if job.folder == folder]
            found = measure_on_host(
                folder,
                host,
                backends=list(dict.fromkeys(job.backend for job in ours)),
                precisions=list(dict.fromkeys(job.precision for job in ours)),
                options=options,
                say=say,
                sent=sent,
                progress=progress,
            )
            yield from (record_of(job, one) for job, one in zip(ours, found, strict=True))

    return measured()


def _check_flags(jobs: Sequence[Job], options: Options) -> None:
    """Else a record would be named after a graph that nothing ran."""
    for flag, asked in (("--cuda-graph", options.cuda_graph), ("--layers", options.layers)):
        if asked and all(job.backend != "tensorrt" for job in jobs):
            raise UserError(f"{flag}: only TensorRT has it; expected --backend tensorrt")


def record_of(job: Job, measured: Measured) -> Record:
    """The record of a job; times of layers are written beside it."""
    bundle = Bundle.read(job.folder)
    said: Mapping[str, Any] = bundle.manifest  # Any: JSON
    path = job.folder / EXPORT_FILE
    export = Record.read(path) if path.is_file() else None
    files = {"model": bundle.models[job.precision].file}
    if measured.layers:
        files["layers"] = write_json(job.layers_file, {"layers": measured.layers}).name
    conditions = {**measured.conditions, **({"host": job.host} if job.host else {})}
    return Record(
        kind="latency",
        role=export.role if export else "",
        name=export.name if export else "",
        metrics=measured.metrics,
        config=said["config"],
        config_hash=said["config_hash"],
        checkpoint=said["checkpoint"],
        checkpoint_hash=said["checkpoint_hash"],
        parameters=said["parameters"],
        files=files,
        environment=measured.environment,
        conditions=conditions,
    )
