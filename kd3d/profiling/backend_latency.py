"""Measures backends: latency of host and device, layers, energy, and on what it was measured.

Runs on the vehicle too: Python 3.8, NumPy and the standard library.
"""

from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Mapping, Sequence  # noqa: UP035  (the vehicle runs Python 3.8)

from kd3d.backends.base import Backend, Feeds
from kd3d.backends.trt import TrtBackend
from kd3d.profiling.board_state import BoardState, gpu_processes, read_state, state_entries
from kd3d.profiling.device_latency import engine_typing, measure_device
from kd3d.profiling.environment import environment
from kd3d.profiling.latency import (
    LEAST_ITERATIONS,
    PROTOCOL,
    TURNS,
    Clock,
    Latency,
    Progress,
    measure_in_turns,
)
from kd3d.profiling.power import PowerMeter, measure_energy, power_meter
from kd3d.profiling.system import System

Scalar = Any  # str, float, int or bool


@dataclass(frozen=True)
class Arm:
    """One of the things that are measured side by side.

    Attributes:
        backend: opened when the measurement starts, closed after it.
        feeds: inputs of one run.
        batch: images or frames in them.
        conditions: what else the caller knows: precision, input, threads.
    """

    backend: Backend
    feeds: Feeds
    batch: int
    conditions: Mapping[str, Scalar]


@dataclass(frozen=True)
class Options:
    """What is measured, and how the backends run.

    Attributes:
        iterations: measured runs of each arm, at least 200.
        cuda_graph: the network as one CUDA graph, where the backend can.
        layers: time of each layer, where the backend can.
        threads: of each backend inside one operator; None is its own choice.
        batch: images a run, where the file takes any number; None for the file's own, or 1.
        energy_s: seconds for the energy, where the board measures power; 0 for none.
    """

    iterations: int = LEAST_ITERATIONS
    cuda_graph: bool = False
    layers: bool = False
    threads: int | None = None
    batch: int | None = None
    energy_s: float = 5.0


@dataclass(frozen=True)
class Measured:
    """What a record holds of one arm; ``layers`` as dicts with name, ms, kind and precision."""

    metrics: dict[str, float]
    conditions: dict[str, Scalar]
    environment: dict[str, str]
    layers: list[dict[str, Scalar]] = field(default_factory=list)


def measure_backends(
    arms: Sequence[Arm],
    options: Options,
    *,
    system: System | None = None,
    clock: Clock = time.perf_counter_ns,
    progress: Progress | None = None,
) -> list[Measured]:
    """Measures the host's latency in turns, then what else each backend and the board can tell.

    The host's latency is that of ``Backend.infer``: arrays in, copies and network, arrays out.

    Args:
        arms: at least one, not yet opened.
        options: what is measured.
        system: where the board is read; None for this machine.
        clock: of the host, in nanoseconds.
        progress: told (measured runs, all) of the host's latency.

    Returns:
        One for each arm. Metrics: those of ``Latency``; ``device_``, ``h2d_``, ``d2h_`` and
        ``no_copies_`` where the backend tells device and host apart; power_w, idle_power_w and
        energy_j (of a run) where the board measures power.
    """
    system = system or System()
    found = {**environment(system), "gpu_processes": gpu_processes(system)}
    meter = power_meter(system)
    idle_w = meter.watts()
    before = read_state(system)
    after: list[BoardState] = []

    def told(done: int, total: int) -> None:
        if done == total:  # before anything else, or an idle GPU has lowered its clock
            after.append(read_state(system))
        if progress is not None:
            progress(done, total)

    with ExitStack() as stack:
        for arm in arms:
            stack.enter_context(arm.backend)
        latencies = measure_in_turns(
            [_infer(arm) for arm in arms],
            batches=[arm.batch for arm in arms],
            iterations=options.iterations,
            clock=clock,
            progress=told,
        )
        measured = [
            _measured(arm, latency, len(arms), options, meter, idle_w, clock)
            for arm, latency in zip(arms, latencies)  # noqa: B905  (Python 3.8)
        ]
        found.update(state_entries(before, after[-1], read_state(system)))
    return [replace(one, environment=dict(found)) for one in measured]


def _infer(arm: Arm) -> Any:
    return lambda: arm.backend.infer(arm.feeds)


def _measured(
    arm: Arm,
    latency: Latency,
    arms: int,
    options: Options,
    meter: PowerMeter,
    idle_w: float | None,
    clock: Clock,
) -> Measured:
    """Without the environment, which is known when all is measured."""
    metrics = latency.metrics()
    backend = arm.backend
    by_device: dict[str, Scalar] = {}
    layers: list[dict[str, Scalar]] = []
    if isinstance(backend, TrtBackend):
        device = measure_device(backend, arm.feeds, iterations=options.iterations, clock=clock)
        metrics.update(device.metrics)
        by_device = {
            "device_steady": device.steady,
            "device_drift": round(device.drift, 3),
            "cuda_graph": backend.cuda_graph,
            "typing": engine_typing(backend.path),
        }
        if options.layers:
            layers = [asdict(layer) for layer in backend.layer_times(arm.feeds)]
    metrics.update(_energy(arm, options, meter, idle_w))
    conditions = {
        **arm.conditions,
        "backend": backend.name,
        "device": backend.device,
        "batch": arm.batch,
        "protocol": PROTOCOL,
        "turns": TURNS if arms > 1 else 1,
        "clock": "time.perf_counter_ns" + (", CUDA events" if by_device else ""),
        "warmup_runs": latency.warmup_runs,
        "steady": latency.steady,
        "drift": round(latency.drift, 3),
        **by_device,
    }
    if "energy_j" in metrics:
        conditions["power_source"] = meter.source
    return Measured(metrics, conditions, {}, layers)


def _energy(
    arm: Arm, options: Options, meter: PowerMeter, idle_w: float | None
) -> dict[str, float]:
    if not options.energy_s:
        return {}
    energy = measure_energy(_infer(arm), meter, seconds=options.energy_s)
    if energy is None:
        return {}
    found = {"power_w": energy.power_w, "energy_j": energy.run_j}
    return found if idle_w is None else {**found, "idle_power_w": idle_w}
