"""What a figure was measured on: machine, system, versions.

Runs on the vehicle too: Python 3.8, standard library only. Versions are looked up in the
packages' metadata, so nothing heavy is imported to learn them; of TensorRT, which may be there more
than once, it is that of the module which runs here, where one does.
"""

from __future__ import annotations

import os
import platform
import sys
from contextlib import suppress
from importlib import metadata
from pathlib import Path

import kd3d
from kd3d.backends.openmp import openmp_threads
from kd3d.profiling.board import board_settings, package_version
from kd3d.profiling.system import System

# Distributions that provide a package, the likeliest first.
_DISTRIBUTIONS = {
    "torch": ["torch"],
    "mmengine": ["mmengine"],
    "mmcv": ["mmcv"],
    "mmdet": ["mmdet"],
    "onnx": ["onnx"],
    "onnxruntime": ["onnxruntime", "onnxruntime-gpu"],
    "tensorrt": ["tensorrt", "tensorrt-cu12", "tensorrt-cu13"],
}
_TENSORRT_PACKAGES = ("libnvinfer11", "libnvinfer10", "libnvinfer8")  # apt, of JetPack


def environment(system: System | None = None) -> dict[str, str]:
    """Describes this machine and process; what is absent or unknown is an empty string.

    Args:
        system: where files and programs are found; None for this machine.

    Returns:
        machine (board or architecture), cpu, cores (usable by this process), threads (of torch
        if it is loaded, else of OpenMP), memory_gb, gpu (name, driver), os, python, the board's
        settings (``kd3d.profiling.board``), the versions of torch, mmengine, mmcv, mmdet, onnx,
        onnxruntime, tensorrt and kd3d, and commit (of kd3d's own repository, with ``-dirty``
        where files differ from it).
    """
    system = system or System()
    cores = _usable_cores()
    board = board_settings(system)
    name = board.pop("gpu_name")
    found = {
        "machine": system.read("/proc/device-tree/model") or platform.machine(),
        "cpu": _line_of(system, "/proc/cpuinfo", "model name", ":") or platform.processor(),
        "cores": str(cores),
        "threads": str(_threads(cores)),
        "memory_gb": f"{_memory_bytes() / 1e9:.1f}",
        "gpu": _gpu(system) or name,
        "os": _line_of(system, "/etc/os-release", "PRETTY_NAME", "=").strip('"')
        or platform.platform(),
        "python": platform.python_version(),
        **board,
    }
    found.update({name: _version(names) for name, names in _DISTRIBUTIONS.items()})
    found["tensorrt"] = (
        str(getattr(sys.modules.get("tensorrt"), "__version__", ""))
        or found["tensorrt"]
        or package_version(system, *_TENSORRT_PACKAGES)
    )
    found["kd3d"] = kd3d.__version__
    found["commit"] = _commit(system)
    return found


def _gpu(system: System) -> str:
    lines = system.run(["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"])
    return "; ".join(lines.strip().split("\n"))


def _usable_cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _threads(cores: int) -> int:
    torch = sys.modules.get("torch")
    if torch is not None:
        return int(torch.get_num_threads())
    return openmp_threads() or cores


def _memory_bytes() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _version(distributions: list[str]) -> str:
    for name in distributions:
        with suppress(metadata.PackageNotFoundError):
            return metadata.version(name)
    return ""


def _commit(system: System) -> str:
    folder = Path(kd3d.__file__).resolve().parent
    git = ["git", "-C", str(folder)]
    # Installed inside another project's folder, git would answer with that project's commit.
    if not system.run([*git, "ls-files", "--error-unmatch", "__init__.py"]):
        return ""
    return system.run([*git, "describe", "--always", "--dirty", "--exclude=*"]).strip()


def _line_of(system: System, path: str, key: str, separator: str) -> str:
    for line in system.read(path).splitlines():
        name, _, value = line.partition(separator)
        if name.strip() == key:
            return value.strip()
    return ""
