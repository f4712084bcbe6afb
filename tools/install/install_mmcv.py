"""Compiles and installs mmcv with its operators, and shows how far it is.

Run by `make install`, inside the virtual environment, once torch is there:

    .venv/bin/python tools/install/install_mmcv.py

Does nothing when mmcv works already. pip keeps the wheel it built, so a second environment takes
seconds; pip does not know for which torch it was built, so it is tried and, if need be, built anew.
"""

import argparse
import re
import subprocess
import sys
from pathlib import Path

from build_progress import follow
from cpp_build import SetupError, build_environment, python_headers, wants_cuda

PYPROJECT = Path(__file__).resolve().parents[2] / "pyproject.toml"
LOG = Path(sys.prefix) / "mmcv-build.log"
SHOWN_LOG_LINES = 30

# torch first: mmcv._ext does not load without the libraries that it brings in.
TRIAL = """
import torch, mmcv
from mmcv.ops import get_compiling_cuda_version, nms
assert mmcv.__version__ == "{version}", mmcv.__version__
nms(torch.tensor([[0., 0., 1., 1.]]), torch.ones(1), 0.5)
assert not {cuda} or get_compiling_cuda_version() != "not available", "mmcv was built without CUDA"
"""


def main() -> int:
    """Installs mmcv or says why it cannot; returns the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.parse_args()
    try:
        version = pinned_version(PYPROJECT.read_text(encoding="utf-8"))
        install_if_needed(version, wants_cuda())
    except SetupError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\ninterrupted; run the same command again to go on", file=sys.stderr)
        return 130
    print(f"mmcv {version} is installed and its operators run")
    return 0


def pinned_version(pyproject: str) -> str:
    """The version in the line ``"mmcv==X.Y.Z"`` of pyproject.toml (Python 3.10 reads no TOML)."""
    found = re.search(r'^\s*"mmcv==([\w.]+)"', pyproject, re.MULTILINE)
    if found is None:
        raise SetupError('pyproject.toml: expected a line "mmcv==X.Y.Z" in [dependency-groups]')
    return found[1]


def install_if_needed(version: str, cuda: bool) -> None:
    """Leaves a working mmcv alone, else takes pip's wheel, else compiles."""
    if trial_error(version, cuda) is None:
        return
    environment = build_environment(python_headers())
    pip_install(environment)
    if trial_error(version, cuda) is not None:
        print("the mmcv that pip had kept does not run here; compiling it anew", flush=True)
        pip_install(environment, "--no-cache-dir", "--force-reinstall")
    error = trial_error(version, cuda)
    if error is not None:
        raise SetupError(f"mmcv {version} was compiled, but does not run: {error} (log: {LOG})")


def trial_error(version: str, cuda: bool) -> str | None:
    """Runs one operator of the installed mmcv; None, or the last line of what went wrong."""
    code = TRIAL.format(version=version, cuda=cuda)
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    if result.returncode == 0:
        return None
    return (result.stderr.strip() or f"exit code {result.returncode}").splitlines()[-1]


def pip_install(environment: dict[str, str], *options: str) -> None:
    """Runs pip, shows the compiler's progress, and keeps all that it printed in ``LOG``."""
    command = [sys.executable, "-m", "pip", "install", "-v", "--no-build-isolation", "--no-deps"]
    command += [*options, "--group", f"{PYPROJECT}:mmcv"]
    pipe = subprocess.PIPE
    with (
        LOG.open("w", encoding="utf-8") as log,
        subprocess.Popen(
            command,
            env=environment,
            stdout=pipe,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        ) as pip,
    ):
        assert pip.stdout is not None
        for line in follow(pip.stdout, sys.stdout, in_place=sys.stdout.isatty()):
            log.write(line)
    if pip.returncode != 0:
        last_lines = LOG.read_text(encoding="utf-8").splitlines()[-SHOWN_LOG_LINES:]
        raise SetupError("\n".join(["mmcv was not built.", *last_lines, f"The whole log: {LOG}"]))


if __name__ == "__main__":
    sys.exit(main())
