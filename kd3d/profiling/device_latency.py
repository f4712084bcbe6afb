"""Times of the GPU itself, by CUDA events: copies to the device, the network, copies back.

Runs on the vehicle too: Python 3.8, NumPy and the standard library.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path

from kd3d.backends.base import Feeds
from kd3d.backends.device_run import DeviceTimes
from kd3d.backends.trt import TrtBackend
from kd3d.profiling.latency import Clock, drift, measure_latency, spread


@dataclass(frozen=True)
class DeviceLatency:
    """What the device measured.

    Attributes:
        metrics: ``spread`` with the prefixes ``device_`` (the network alone, by events), ``h2d_``
            and ``d2h_`` (copies, by events), ``enqueue_`` (the host's time until all is handed
            over), and ``no_copies_`` (the host's time of a run whose inputs and outputs stay on
            the device).
        steady: whether both warm-ups ended because the times were steady.
        drift: of the network's times, see ``kd3d.profiling.latency.drift``.
    """

    metrics: dict[str, float]
    steady: bool
    drift: float


def measure_device(
    backend: TrtBackend,
    feeds: Feeds,
    *,
    iterations: int,
    clock: Clock = time.perf_counter_ns,
) -> DeviceLatency:
    """Measures twice by the protocol of ``measure_latency``: with copies and without.

    Args:
        backend: entered; it launches kernels or a graph of them.
        feeds: of one run.
        iterations: measured runs, at least 200.
        clock: of the host, in nanoseconds.
    """
    times: list[DeviceTimes] = []
    with backend.prepare(feeds) as run:
        copying = measure_latency(
            lambda: times.append(run.timed()), iterations=iterations, clock=clock
        )
        without = measure_latency(
            lambda: run.timed(copies=False), iterations=iterations, clock=clock
        )
    times = times[-iterations:]  # the rest was warm-up
    network_ms = [t.device_ms for t in times]
    metrics = {
        **spread(network_ms, "device_"),
        **spread([t.host_to_device_ms for t in times], "h2d_"),
        **spread([t.device_to_host_ms for t in times], "d2h_"),
        **spread([t.enqueue_ms for t in times], "enqueue_"),
        **spread(without.times_ms, "no_copies_"),
    }
    return DeviceLatency(metrics, copying.steady and without.steady, drift(network_ms))


def engine_typing(engine_path: Path) -> str:
    """How the engine was built ("strongly typed"); empty where nothing beside it tells."""
    try:
        record = engine_path.with_name(f"{engine_path.name}.json")
        return str(json.loads(record.read_text(encoding="utf-8"))["typing"])
    except (OSError, ValueError, KeyError):
        return ""
