"""What the CUDA driver says of the first GPU: name, SMs on line, compute capability.

A power mode can switch SMs off, and only the driver knows how many are left. It is asked in a
process of its own, because a process that has talked to the driver cannot fork workers that do.
Runs on the vehicle too: Python 3.8, standard library only.
"""

from __future__ import annotations

import ctypes
import json
import sys
from contextlib import suppress
from typing import Any, Callable  # noqa: UP035  (evaluated; the vehicle runs Python 3.8)

from kd3d.profiling.system import System

# CUdevice_attribute of cuda.h
_SMS, _MAJOR, _MINOR = 16, 75, 76
_GPU_NODES = ("/dev/nvidia0", "/dev/nvhost-gpu", "/dev/nvgpu", "/dev/nvmap")


def cuda_device(system: System) -> dict[str, str]:
    """gpu_name, gpu_sms and gpu_compute ("8.7"); empty texts where there is no GPU or no driver."""
    found = {"gpu_name": "", "gpu_sms": "", "gpu_compute": ""}
    if not any(system.path(node).exists() for node in _GPU_NODES):
        return found
    answer = system.run([sys.executable, "-c", "import kd3d.profiling.cuda_device as c; c.main()"])
    with suppress(ValueError):
        found.update({key: str(value) for key, value in json.loads(answer).items()})
    return found


def ask_driver(load: Callable[[str], Any] = ctypes.CDLL) -> dict[str, str]:  # Any: a C library
    """Asks libcuda in this process; nothing where it is absent or refuses."""
    try:
        driver = load("libcuda.so.1")
    except OSError:
        return {}
    device = ctypes.c_int()
    if driver.cuInit(0) or driver.cuDeviceGet(ctypes.byref(device), 0):
        return {}
    name = ctypes.create_string_buffer(100)
    if driver.cuDeviceGetName(name, len(name), device):
        return {}
    numbers = []
    for attribute in (_SMS, _MAJOR, _MINOR):
        value = ctypes.c_int()
        if driver.cuDeviceGetAttribute(ctypes.byref(value), attribute, device):
            return {}
        numbers.append(value.value)
    sms, major, minor = numbers
    return {
        "gpu_name": name.value.decode(errors="replace"),
        "gpu_sms": str(sms),
        "gpu_compute": f"{major}.{minor}",
    }


def main() -> None:
    """Prints what the driver says, as JSON."""
    print(json.dumps(ask_driver()))
