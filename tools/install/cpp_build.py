"""What a C++ extension of torch needs from the machine, found before its build starts.

Standard library only: nothing but torch is installed when this runs.
"""

import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

PYTHON_VERSION = f"{sys.version_info.major}.{sys.version_info.minor}"
MEMORY_PER_JOB_BYTES = 2e9  # the largest files of mmcv take 1.5 GB to compile
CUDA_PROBE = """
import torch
from torch.utils.cpp_extension import CUDA_HOME
print(int(torch.cuda.is_available()), torch.version.cuda, CUDA_HOME)
"""


class SetupError(RuntimeError):
    """Something the user has to provide; the message says what and how."""


def wants_cuda() -> bool:
    """Whether to build for a GPU: torch sees one, or FORCE_CUDA=1 (a container has none yet)."""
    result = subprocess.run([sys.executable, "-c", CUDA_PROBE], capture_output=True, text=True)
    if result.returncode != 0:
        raise SetupError(f"torch does not load; make clean install\n{result.stderr.strip()}")
    visible, cuda_version, cuda_home = result.stdout.split()
    wanted = visible == "1" or os.environ.get("FORCE_CUDA") == "1"
    if wanted and cuda_home == "None":
        raise SetupError(
            f"torch was built for CUDA {cuda_version}, but there is no nvcc to build mmcv with: "
            "install the CUDA toolkit of that version and set CUDA_HOME, "
            "or hide the GPU: CUDA_VISIBLE_DEVICES= make install"
        )
    return wanted


def python_headers() -> list[Path]:
    """Folders that the compiler must search for Python.h besides the interpreter's own.

    Debian and Ubuntu keep the headers in a package of their own. Where it is missing, its files are
    unpacked into the virtual environment, for which nobody needs to be root.

    Raises:
        SetupError: if there is no compiler, it does not work, or there are no headers.
    """
    compiler = os.environ.get("CXX", "c++")
    if shutil.which(compiler) is None:
        raise SetupError(
            f"mmcv is compiled here, but there is no C++ compiler '{compiler}': "
            "apt-get install g++, or set CXX"
        )
    error = compile_error(compiler, [])
    if error is None:
        return []
    if "Python.h" not in error:
        raise SetupError(f"the C++ compiler '{compiler}' does not work:\n{error}")
    folders = headers_of_distribution()
    if not folders or compile_error(compiler, folders) is not None:
        raise SetupError(
            f"mmcv is compiled here, but Python.h of Python {PYTHON_VERSION} is missing: "
            f"apt-get install libpython{PYTHON_VERSION}-dev"
        )
    return folders


def compile_error(compiler: str, folders: list[Path]) -> str | None:
    """Compiles a file that includes Python.h; None, or what the compiler said."""
    with tempfile.TemporaryDirectory() as work:
        source = Path(work) / "probe.cpp"
        source.write_text("#include <vector>\n#include <Python.h>\n", encoding="utf-8")
        include = [f"-I{path}" for path in (sysconfig.get_path("include"), *folders)]
        command = [compiler, *include, "-c", str(source), "-o", f"{work}/probe.o"]
        result = subprocess.run(command, capture_output=True, text=True)
    return None if result.returncode == 0 else result.stderr.strip()


def headers_of_distribution() -> list[Path]:
    """Unpacks Debian's or Ubuntu's package of headers below ``sys.prefix``; [] if it cannot."""
    if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
        return []
    package = f"libpython{PYTHON_VERSION}-dev"
    target = Path(sys.prefix) / "python-headers"
    print(f"Python.h is missing here: unpacking {package} into {target}", flush=True)
    with tempfile.TemporaryDirectory() as work:
        command = ["apt-get", "download", package]
        result = subprocess.run(command, cwd=work, capture_output=True, text=True)
        for archive in Path(work).glob("*.deb"):
            result = subprocess.run(
                ["dpkg-deb", "-x", archive, target], capture_output=True, text=True
            )
    if result.returncode != 0:
        print(result.stderr.strip(), file=sys.stderr)
        return []
    include = target / "usr" / "include"
    return [include, include / f"python{PYTHON_VERSION}"]


def build_environment(folders: list[Path]) -> dict[str, str]:
    """Variables for pip: operators on, ninja and headers found, no more jobs than memory holds."""
    environment = dict(os.environ, MMCV_WITH_OPS="1")
    environment["PATH"] = os.pathsep.join([sysconfig.get_path("scripts"), os.environ["PATH"]])
    memory_bytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    jobs = min(len(os.sched_getaffinity(0)), int(memory_bytes / MEMORY_PER_JOB_BYTES))
    environment.setdefault("MAX_JOBS", str(max(1, jobs)))
    if folders:
        searched = [*map(str, folders), os.environ.get("CPLUS_INCLUDE_PATH", "")]
        environment["CPLUS_INCLUDE_PATH"] = os.pathsep.join(filter(None, searched))
    return environment
