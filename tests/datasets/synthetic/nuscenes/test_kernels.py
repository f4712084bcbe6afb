"""A kept function is compiled anew when any file of its package changes."""

import shutil
import subprocess
import sys
from pathlib import Path

import kd3d.datasets.synthetic.nuscenes.kernels as kernels

CALLER = """
from package.callee import twice
from package.kernels import kernel

@kernel
def three_times(x: float) -> float:
    return twice(x) + x

if __name__ == "__main__":
    print(three_times(1.0))
"""
CALLEE = """
from package.kernels import kernel

@kernel
def twice(x: float) -> float:
    return FACTOR * x
"""


def run(folder: Path) -> float:
    command = [sys.executable, "-m", "package.caller"]
    return float(subprocess.run(command, cwd=folder, check=True, capture_output=True).stdout)


def test_a_change_in_another_file_compiles_anew(tmp_path):
    package = tmp_path / "package"
    package.mkdir()
    shutil.copy(kernels.__file__, package / "kernels.py")
    (package / "caller.py").write_text(CALLER)
    (package / "callee.py").write_text(CALLEE.replace("FACTOR", "2"))
    assert run(tmp_path) == 3.0
    kept = len(list(package.rglob("*.nbc")))
    assert kept > 0
    assert run(tmp_path) == 3.0
    assert len(list(package.rglob("*.nbc"))) == kept  # taken from the disk
    (package / "callee.py").write_text(CALLEE.replace("FACTOR", "5"))
    assert run(tmp_path) == 6.0
