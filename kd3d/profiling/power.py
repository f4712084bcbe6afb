"""Electrical power of a board, and the energy of one run.

Jetson boards measure their supply rails with INA3221 chips, which hwmon shows in mV and mA. Orin
NX and Nano have one rail for everything (VDD_IN); AGX Orin and Thor have none, and the sum of what
enters the module stands for it: VDDQ_VDD2_1V8AO is fed from VIN_SYS_5V0 and would count twice.
Elsewhere nvidia-smi says what the graphics card draws. Runs on the vehicle too: Python 3.8,
standard library only.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Callable  # noqa: UP035  (evaluated; the vehicle runs Python 3.8)

from kd3d.profiling.nvidia_smi import query_gpu
from kd3d.profiling.system import System, as_number

_WHOLE = "VDD_IN"
_FED_BY_ANOTHER = ("VDDQ_VDD2_1V8AO",)
_RAIL_PAUSE_S = 0.05  # an INA3221 averages over about that time
_PROGRAM_PAUSE_S = 0.5  # nvidia-smi is a process each time


@dataclass(frozen=True)
class PowerMeter:
    """Reads the power that is drawn now.

    Attributes:
        source: rails that are added, or "nvidia-smi"; empty where nothing measures power.
        watts: the power at this moment, None where it cannot be read.
        pause_s: between two readings.
    """

    source: str
    watts: Callable[[], float | None]
    pause_s: float


@dataclass(frozen=True)
class Energy:
    """Mean power while ``runs`` runs took ``seconds``."""

    power_w: float
    runs: int
    seconds: float

    @property
    def run_j(self) -> float:
        """Energy of one run, with all that the board does besides."""
        return self.power_w * self.seconds / self.runs


def power_meter(system: System) -> PowerMeter:
    """The best meter that this machine has."""
    rails = _rails(system)
    whole = {_WHOLE: rails[_WHOLE]} if _WHOLE in rails else rails
    parts = {label: paths for label, paths in whole.items() if label not in _FED_BY_ANOTHER}
    if parts:
        return PowerMeter(" + ".join(parts), lambda: _sum_w(system, parts), _RAIL_PAUSE_S)

    def card() -> float | None:
        return as_number(query_gpu(system, "power.draw")[0])

    return PowerMeter("" if card() is None else "nvidia-smi", card, _PROGRAM_PAUSE_S)


def measure_energy(
    run: Callable[[], object],
    meter: PowerMeter,
    *,
    seconds: float = 5.0,
    clock: Callable[[], float] = time.perf_counter,
) -> Energy | None:
    """Repeats ``run`` for some seconds while a thread reads the meter.

    Measured by itself, because the thread would disturb the latency.

    Returns:
        None where nothing measures power.
    """
    if not meter.source:
        return None
    samples: list[float] = []
    done = threading.Event()

    def sample() -> None:
        while True:
            power_w = meter.watts()
            if power_w is not None:
                samples.append(power_w)
            if done.wait(meter.pause_s):
                return

    thread = threading.Thread(target=sample, daemon=True)
    start, runs = clock(), 0
    thread.start()
    try:
        while runs == 0 or clock() - start < seconds:
            run()
            runs += 1
        took_s = clock() - start
    finally:
        done.set()
        thread.join()
    return Energy(sum(samples) / len(samples), runs, took_s) if samples else None


def _rails(system: System) -> dict[str, tuple[Path, Path]]:
    """Label -> files of voltage (mV) and current (mA)."""
    found = {}
    for chip in system.glob("/sys/class/hwmon/hwmon*"):
        if not system.read(chip / "name").startswith("ina3221"):
            continue
        for channel in (1, 2, 3):
            label = system.read(chip / f"in{channel}_label")
            files = (chip / f"in{channel}_input", chip / f"curr{channel}_input")
            if label and label != "NC" and all(system.number(path) is not None for path in files):
                found[label] = files
    return found


def _sum_w(system: System, rails: dict[str, tuple[Path, Path]]) -> float | None:
    total_w = 0.0
    for voltage, current in rails.values():
        millivolts, milliamperes = system.number(voltage), system.number(current)
        if millivolts is None or milliamperes is None:
            return None
        total_w += millivolts * milliamperes / 1e6
    return total_w
