"""The vehicle's code under the vehicle's Python: 3.8 with NumPy 1.17 and nothing else."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from module_imports import ROOT
from test_vehicle import vehicle_modules
from vehicle_script import voxels

TESTS = Path(__file__).parent


def python38() -> Path | None:
    """KD3D_PYTHON38, or what tools/install/install_vehicle_python.py made."""
    named = os.environ.get("KD3D_PYTHON38")
    made = Path(sys.prefix) / "vehicle/bin/python"
    return Path(named) if named else made if made.exists() else None


def test_everything_imports_measures_and_serves():
    python = python38()
    if python is None:
        pytest.skip("no Python 3.8 with NumPy: run tools/install/install_vehicle_python.py")
    modules = vehicle_modules()
    assert {"kd3d.backends.trt", "kd3d.backends.engine"} <= set(modules)
    paths = os.pathsep.join([str(ROOT), str(TESTS)])
    environment = {"PYTHONPATH": paths, "PYTHONDONTWRITEBYTECODE": "1", "PATH": os.environ["PATH"]}
    done = subprocess.run(
        [python, "-W", "error", str(TESTS / "vehicle_script.py"), *modules],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )
    assert done.returncode == 0, done.stderr
    version = subprocess.run([python, "--version"], capture_output=True, text=True, check=True)
    assert version.stdout.startswith("Python 3.8.")
    lines = done.stdout.splitlines()
    assert lines[:2] == [f"imported {len(modules)} modules", "ran 5 versions"]
    assert lines[2].startswith("tensorrt fp32: p50 ")
    assert lines[4:] == [
        "measured 200",
        "served [[6.0, 6.0], [6.0, 6.0]]",
        "far end answered [3, 8]",
        f"voxels {voxels()}",
    ]
