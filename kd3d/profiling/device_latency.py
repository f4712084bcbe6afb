"""Times of the GPU itself, by CUDA events: copies to the device, the network, copies back.

Runs on the vehicle too: Python 3.8, NumPy and the standard library.
"""

from __future__ import annotations

import time
from contextlib import AbstractContextManager
from typing import Protocol, Sequence  # noqa: UP035  (the vehicle runs Python 3.8)

from kd3d.backends.base import Feeds
from kd3d.profiling.latency import Clock, measure_latency, spread


class DeviceTimes(Protocol):
    """One run by CUDA events on one stream; the copies are 0 where they were left out."""

    host_to_device_ms: float
    device_ms: float
    device_to_host_ms: float


class DeviceRun(Protocol):
    """A network with its inputs on the device."""

    def timed(self, copies: bool = True) -> DeviceTimes:
        """Enqueues a run with events around its parts, and waits for it."""
        ...


class LayerTime(Protocol):
    """One layer of an engine, as its profiler and inspector tell it; texts may be empty."""

    name: str
    ms: float
    kind: str
    precision: str


class TimedBackend(Protocol):
    """A Backend that tells device and host apart."""

    def prepare(self, feeds: Feeds, graph: bool = False) -> AbstractContextManager[DeviceRun]:
        """Puts the inputs on the device; ``graph``: as one captured CUDA graph."""
        ...

    def layer_times(self, feeds: Feeds) -> Sequence[LayerTime]:
        """Mean time of each layer over a few runs."""
        ...


def measure_device(
    backend: TimedBackend,
    feeds: Feeds,
    *,
    iterations: int,
    cuda_graph: bool = False,
    clock: Clock = time.perf_counter_ns,
) -> dict[str, float]:
    """Measures twice by the protocol of ``measure_latency``: with copies and without.

    Args:
        backend: has ``prepare``.
        feeds: of one run.
        iterations: measured runs, at least 200.
        cuda_graph: launch the network as one captured CUDA graph.
        clock: of the host, in nanoseconds.

    Returns:
        ``spread`` with the prefixes ``device_`` (the network alone, by events), ``h2d_`` and
        ``d2h_`` (copies, by events), and ``no_copies_`` (the host's time of a run whose inputs and
        outputs stay on the device).
    """
    times: list[DeviceTimes] = []
    with backend.prepare(feeds, graph=cuda_graph) as run:
        measure_latency(lambda: times.append(run.timed()), iterations=iterations, clock=clock)
        without = measure_latency(
            lambda: run.timed(copies=False), iterations=iterations, clock=clock
        )
    times = times[-iterations:]  # the rest was warm-up
    return {
        **spread([t.device_ms for t in times], "device_"),
        **spread([t.host_to_device_ms for t in times], "h2d_"),
        **spread([t.device_to_host_ms for t in times], "d2h_"),
        **spread(without.times_ms, "no_copies_"),
    }
