"""What changes on a board while it works: temperatures, clocks, throttling, others on the GPU.

Read before and after the runs, and when all else is measured. Throttling is seen in three places:
counters of over-current events (soctherm_oc: oc1 under-voltage, oc2 average and oc3 instantaneous
over-current), cooling devices that act (gpu-throttle-alert, ...), and nvidia-smi's reasons; on a PC
also Intel's counter. Runs on the vehicle too: Python 3.8, standard library only.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from kd3d.profiling.board import emc_mhz, gpu_mhz
from kd3d.profiling.nvidia_smi import compute_processes, query_gpu
from kd3d.profiling.system import System, as_number

_COLDEST_C = -40.0  # a sensor that is off says -256
# nvidia-smi: fields that say "Active" when clocks are held down for heat or power.
_REASONS = ("sw_thermal_slowdown", "hw_thermal_slowdown", "hw_power_brake_slowdown")
_GPU_FILES = ("/dev/nvhost-gpu", "/dev/nvhost-ctrl-gpu", "/dev/nvgpu/", "/dev/nvidia0")
_NVMAP = "/sys/kernel/debug/nvmap/iovmm/clients"
_CPU_COUNTER = "/sys/devices/system/cpu/cpu0/thermal_throttle/package_throttle_count"


@dataclass(frozen=True)
class BoardState:
    """One moment.

    Attributes:
        temperatures_c: by thermal zone.
        gpu_mhz: clock of the GPU, None where unknown; emc_mhz: of the memory.
        throttle_counts: events since the board started, by counter.
        throttling: what holds clocks down at this moment; None where nothing can say so.
    """

    temperatures_c: dict[str, float]
    gpu_mhz: float | None
    emc_mhz: float | None
    throttle_counts: dict[str, float]
    throttling: tuple[str, ...] | None


def read_state(system: System) -> BoardState:
    """Reads all of it; takes milliseconds, or the time of three nvidia-smi calls on a PC.

    The clocks come first: the governor lowers them while the other sensors are read.
    """
    clocks = {"gpu_mhz": gpu_mhz(system), "emc_mhz": emc_mhz(system)}
    return BoardState(
        **clocks,
        temperatures_c=_temperatures_c(system),
        throttle_counts=_throttle_counts(system),
        throttling=_throttling(system),
    )


def state_entries(before: BoardState, after: BoardState, end: BoardState) -> dict[str, str]:
    """Moments of a measurement as entries of an environment; what is unknown is empty.

    Args:
        before: the first run.
        after: right after the last run of the host's latency.
        end: after all else (device times, layers, energy).

    Returns:
        temperature_before_c and temperature_after_c ("cpu 45.2, gpu 43.0", at the end), gpu_mhz
        and emc_mhz (right after the last run), throttled ("no", or what was seen until the end).
    """
    return {
        "temperature_before_c": _temperature_text(before),
        "temperature_after_c": _temperature_text(end),
        "gpu_mhz": "" if after.gpu_mhz is None else f"{after.gpu_mhz:g}",
        "emc_mhz": "" if after.emc_mhz is None else f"{after.emc_mhz:g}",
        "throttled": _throttled_text(before, after, end),
    }


def gpu_processes(system: System) -> str:
    """Names of other processes that use the GPU, sorted; empty where none is seen.

    Without root, processes of other users stay unseen.
    """
    own = os.getpid()
    pids = {*compute_processes(system), *_nvmap_processes(system), *_with_gpu_files(system)}
    names = [system.read(f"/proc/{pid}/comm") or f"process {pid}" for pid in pids - {own}]
    return ", ".join(sorted(names))


def _temperatures_c(system: System) -> dict[str, float]:
    found = {}
    for zone in system.glob("/sys/class/thermal/thermal_zone*"):
        name, milli_c = system.read(zone / "type"), system.number(zone / "temp")
        if name and milli_c is not None and milli_c > _COLDEST_C * 1e3:
            found[name.replace("-thermal", "")] = milli_c / 1e3
    gpu = as_number(query_gpu(system, "temperature.gpu")[0])
    if gpu is not None:
        found.setdefault("gpu", gpu)
    return found


def _throttle_counts(system: System) -> dict[str, float]:
    counters = [
        (path.name.replace("_event_cnt", ""), path)
        for path in system.glob("/sys/class/hwmon/hwmon*/oc*_event_cnt")
    ]
    counters.append(("cpu package", system.path(_CPU_COUNTER)))
    counts = {name: system.number(path) for name, path in counters}
    return {name: count for name, count in counts.items() if count is not None}


def _throttling(system: System) -> tuple[str, ...] | None:
    """Names of what throttles now; None where no reader answers."""
    devices = {
        system.read(path / "type"): system.number(path / "cur_state")
        for path in system.glob("/sys/class/thermal/cooling_device*")
    }
    alerts = {name: state for name, state in devices.items() if name.endswith("-alert")}
    reasons = query_gpu(system, *(f"clocks_throttle_reasons.{name}" for name in _REASONS))
    if not alerts and not any(reasons):
        return None
    acting = [name for name, state in alerts.items() if state]
    acting += [name for name, value in zip(_REASONS, reasons) if value == "Active"]  # noqa: B905
    return tuple(acting)


def _throttled_text(before: BoardState, after: BoardState, end: BoardState) -> str:
    if end.throttling is None and not end.throttle_counts:
        return ""
    seen = [name for state in (before, after, end) for name in state.throttling or ()]
    for name, count in end.throttle_counts.items():
        grown = count - before.throttle_counts.get(name, count)
        if grown > 0:
            seen.append(f"{name} +{grown:g} events")
    return ", ".join(dict.fromkeys(seen)) or "no"


def _temperature_text(state: BoardState) -> str:
    return ", ".join(f"{name} {value:.1f}" for name, value in sorted(state.temperatures_c.items()))


def _nvmap_processes(system: System) -> list[int]:
    # CLIENT PROCESS PID SIZE, the last line a total; debugfs, for root only
    rows = [line.split() for line in system.read(_NVMAP).splitlines()]
    return [int(row[2]) for row in rows if len(row) >= 4 and row[2].isdigit()]


def _with_gpu_files(system: System) -> list[int]:
    return [
        int(folder.name)
        for folder in system.glob("/proc/[0-9]*")
        if any(target.startswith(_GPU_FILES) for target in _open_files(folder / "fd"))
    ]


def _open_files(folder: Path) -> list[str]:
    try:
        return [os.readlink(str(path)) for path in folder.iterdir()]  # noqa: PTH115  (Python 3.8)
    except OSError:  # another user's process, or one that has just ended
        return []
