"""Checks every function of libcudart that kd3d calls, in the real libraries of CUDA 11, 12, 13."""

from __future__ import annotations

import ctypes
import re
import sys
import zipfile
from pathlib import Path

from trt_bindings import download

from kd3d.backends.cuda_runtime import FUNCTIONS, CudaError, CudaRuntime

RUNTIMES = (
    "nvidia-cuda-runtime-cu11==11.8.89",
    "nvidia-cuda-runtime-cu12==12.9.79",
    "nvidia-cuda-runtime==13.5.37",
)


def check_cuda(requirement: str, work_dir: Path) -> tuple[list[str], str]:
    """Problems of one library, and what it says when it is asked for GPUs.

    Compared are the names that it exports and, in its header, how many arguments each takes.
    """
    wheel = download(requirement, Path(sys.executable), work_dir / "wheels-cuda")
    folder = work_dir / requirement.replace("==", "-")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    (library,) = folder.rglob("libcudart.so.*")
    (header,) = folder.rglob("cuda_runtime_api.h")
    problems = header_problems(header.read_text(encoding="utf-8", errors="replace"))
    try:
        runtime = CudaRuntime(ctypes.CDLL(str(library)), library.name)
        answer = f"{runtime.devices()} GPUs"
    except AttributeError as error:
        return [*problems, str(error)], ""
    except CudaError as error:
        answer = str(error)
    return problems, answer


def header_problems(header: str) -> list[str]:
    """Functions that the header lacks or declares with another number of arguments."""
    problems = []
    for name, arguments in FUNCTIONS.items():
        found = re.search(rf"CUDARTAPI(?:_\w+)? {name}\(([^)]*(?:\([^)]*\)[^)]*)*)\);", header)
        count = None if found is None else len(found.group(1).split(","))
        if count != len(arguments):
            problems.append(f"{name}: expected {len(arguments)} arguments, the header has {count}")
    return problems
