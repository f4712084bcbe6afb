"""What a figure was measured on: machine, system, versions.

Runs on the vehicle too: Python 3.8, standard library only. Versions are looked up in the
packages' metadata, so nothing heavy is imported to learn them.
"""

import os
import platform
import shutil
import subprocess
import sys
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import Dict, List  # noqa: UP035  (the vehicle runs Python 3.8)

import kd3d

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


def environment() -> Dict[str, str]:  # noqa: UP006
    """Describes this machine and process; what is absent or unknown is an empty string.

    Returns:
        machine (board or architecture), cpu, cores (usable by this process), threads (of torch
        if it is loaded, else of OpenMP), memory_gb, gpu (name, driver), os, python, the versions
        of torch, mmengine, mmcv, mmdet, onnx, onnxruntime, tensorrt and kd3d, and commit (of
        kd3d's own repository, with ``-dirty`` where files differ from it).
    """
    cores = _usable_cores()
    found = {
        "machine": _read("/proc/device-tree/model").strip("\0\n ") or platform.machine(),
        "cpu": _line_of("/proc/cpuinfo", "model name", ":") or platform.processor(),
        "cores": str(cores),
        "threads": str(_threads(cores)),
        "memory_gb": "{:.1f}".format(_memory_bytes() / 1e9),  # noqa: UP032
        "gpu": _output(["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"]),
        "os": _line_of("/etc/os-release", "PRETTY_NAME", "=").strip('"') or platform.platform(),
        "python": platform.python_version(),
    }
    found.update({name: _version(names) for name, names in _DISTRIBUTIONS.items()})
    found["kd3d"] = kd3d.__version__
    found["commit"] = _commit()
    return found


def _usable_cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _threads(cores: int) -> int:
    torch = sys.modules.get("torch")
    if torch is not None:
        return int(torch.get_num_threads())
    asked = os.environ.get("OMP_NUM_THREADS", "")
    return int(asked) if asked.isdigit() else cores


def _memory_bytes() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _version(distributions: List[str]) -> str:  # noqa: UP006
    for name in distributions:
        with suppress(metadata.PackageNotFoundError):
            return metadata.version(name)
    return ""


def _commit() -> str:
    folder = Path(kd3d.__file__).resolve().parent
    # Installed inside another project's folder, git would answer with that project's commit.
    if not _output(["git", "-C", str(folder), "ls-files", "--error-unmatch", "__init__.py"]):
        return ""
    return _output(["git", "-C", str(folder), "describe", "--always", "--dirty", "--exclude=*"])


def _output(command: List[str]) -> str:  # noqa: UP006
    """Standard output of a command, lines joined by '; '; empty if it is absent or fails."""
    if shutil.which(command[0]) is None:
        return ""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (subprocess.SubprocessError, OSError):
        return ""
    return "; ".join(done.stdout.split("\n")).strip("; ")


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _line_of(path: str, key: str, separator: str) -> str:
    for line in _read(path).splitlines():
        name, _, value = line.partition(separator)
        if name.strip() == key:
            return value.strip()
    return ""
