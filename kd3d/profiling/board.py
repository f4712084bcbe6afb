"""How a board is set up: JetPack, CUDA, power mode, SMs on line, upper limits of the clocks.

Where it is read (Orin, JetPack 5 to 7): /etc/nv_tegra_release, dpkg, ``nvpmodel -q``, the GPU's
devfreq (17000000.ga10b on L4T 35, 17000000.gpu on 36 and later, gpu-gpc-0 on Thor), the memory's
cap of nvpmodel (nvpmodel_emc_cap on L4T 35, nvpmodel_clk_cap later), and debugfs, which only root
may read. Elsewhere nvidia-smi is asked. Runs on the vehicle too: Python 3.8, standard library only.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

from kd3d.profiling.cuda_device import cuda_device
from kd3d.profiling.nvidia_smi import query_gpu
from kd3d.profiling.system import System, as_number

_GPU_FREQUENCY = (
    "/sys/class/devfreq/17000000.ga10b",
    "/sys/class/devfreq/17000000.gpu",
    "/sys/class/devfreq/gpu-gpc-0",
)
_TPC_MASKS = ("/sys/devices/gpu.0/tpc_pg_mask", "/sys/devices/platform/gpu.0/tpc_pg_mask")
_EMC = "/sys/kernel/debug/bpmp/debug/clk/emc"
_EMC_CAPS = ("/sys/kernel/nvpmodel_clk_cap/emc", "/sys/kernel/nvpmodel_emc_cap/emc_iso_cap")

# From NVIDIA's release notes.
_JETPACK_OF_L4T = {
    "35.1": "5.0.2",
    "35.2.1": "5.1",
    "35.3.1": "5.1.1",
    "35.4.1": "5.1.2",
    "35.5": "5.1.3",
    "35.6": "5.1.4 to 5.1.6",
    "36.2": "6.0 DP",
    "36.3": "6.0",
    "36.4.3": "6.2",
    "36.4.4": "6.2.1",
    "36.4.7": "6.2.1",
    "36.4.0": "6.1",
    "36.5": "6.2.2",
    "38.2": "7.0",
    "38.4": "7.1",
    "39.2": "7.2",
}


def board_settings(system: System) -> dict[str, str]:
    """Settings that stay as they are during a run; what is absent or unknown is empty.

    Returns:
        l4t ("36.4.3"), jetpack (of the package nvidia-jetpack, which many boards lack; else
        "6.2 (by L4T)", the release that brought this L4T), cuda, power_mode ("MAXN"),
        gpu_name, gpu_sms (on line), gpu_compute ("8.7"), gpu_max_mhz and emc_max_mhz (upper limits
        that hold now), tpc_pg_mask (which pairs of SMs nvpmodel switched off).
    """
    l4t = _l4t(system)
    return {
        "l4t": l4t,
        "jetpack": package_version(system, "nvidia-jetpack") or jetpack_of(l4t),
        "cuda": _cuda(system),
        "power_mode": _power_mode(system),
        **cuda_device(system),
        "gpu_max_mhz": _mhz(gpu_max_mhz(system)),
        "emc_max_mhz": _mhz(emc_max_mhz(system)),
        "tpc_pg_mask": next(filter(None, map(system.read, _TPC_MASKS)), ""),
    }


def jetpack_of(l4t: str) -> str:
    """The JetPack that brought an L4T, "6.2 (by L4T)"; empty for one that is not known."""
    found = (name for name in _JETPACK_OF_L4T if f"{l4t}.".startswith(f"{name}."))
    return next((f"{_JETPACK_OF_L4T[name]} (by L4T)" for name in found), "")


def package_version(system: System, *names: str) -> str:
    """Version of the first of some Debian packages that is installed."""
    for name in names:
        found = system.run(["dpkg-query", "--show", "--showformat=${Version}", name]).strip()
        if found:
            return found
    return ""


def gpu_devfreq(system: System) -> Path | None:
    """The GPU's folder in sysfs with cur_freq and max_freq, in Hz."""
    folders = (system.path(path) for path in _GPU_FREQUENCY)
    return next((folder for folder in folders if folder.is_dir()), None)


def gpu_max_mhz(system: System) -> float | None:
    """The highest clock that the GPU may reach now."""
    folder = gpu_devfreq(system)
    if folder is not None:
        return _from_hz(system.number(folder / "max_freq"))
    return as_number(query_gpu(system, "clocks.max.sm")[0])


def gpu_mhz(system: System) -> float | None:
    """The GPU's clock at this moment."""
    folder = gpu_devfreq(system)
    if folder is not None:
        return _from_hz(system.number(folder / "cur_freq"))
    return as_number(query_gpu(system, "clocks.sm")[0])


def emc_max_mhz(system: System) -> float | None:
    """The highest clock that the memory may reach now; a cap of 0 means that there is none."""
    limits = [hz for hz in map(system.number, (*_EMC_CAPS, f"{_EMC}/max_rate")) if hz]
    if limits:
        return _from_hz(min(limits))
    return as_number(query_gpu(system, "clocks.max.memory")[0])


def emc_mhz(system: System) -> float | None:
    """The memory's clock at this moment."""
    found = _from_hz(system.number(f"{_EMC}/rate"))
    return found if found is not None else as_number(query_gpu(system, "clocks.mem")[0])


def _l4t(system: System) -> str:
    # "# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic, ..."
    text = system.read("/etc/nv_tegra_release")
    found = re.search(r"R(\d+) \(release\), REVISION: ([\d.]+)", text)
    return ".".join(found.groups()) if found else ""


def _cuda(system: System) -> str:
    try:
        return str(json.loads(system.read("/usr/local/cuda/version.json"))["cuda"]["version"])
    except (ValueError, KeyError, TypeError):
        return ""


def _power_mode(system: System) -> str:
    # Errors about files that only root may read stand around it.
    found = re.search(r"NV Power Mode: *(\S+)", system.run(["nvpmodel", "-q"]))
    return found.group(1) if found else ""


def _from_hz(hz: float | None) -> float | None:
    return None if hz is None else hz / 1e6


def _mhz(value: float | None) -> str:
    return "" if value is None else f"{value:g}"
