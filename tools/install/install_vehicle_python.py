"""Makes .venv/vehicle: Python 3.8 with NumPy 1.17, as JetPack 5.1 has them, to test with.

Run by `make install`, or by hand where Python 3.8 came later:

    .venv/bin/python tools/install/install_vehicle_python.py

Does nothing where there is no Python 3.8; tests/test_python38.py then skips and says so.
"""

import argparse
import shutil
import subprocess
import sys
from pathlib import Path

NUMPY = "numpy==1.17.4"  # the version of Ubuntu 20.04, on which JetPack 5.1 stands
FOLDER = Path(sys.prefix) / "vehicle"


def main() -> int:
    """Makes the environment or says why not; returns the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.parse_args()
    if (FOLDER / "ready").exists():
        return 0
    python = find_python38()
    if python is None:
        print("no Python 3.8 found: the vehicle's code is checked by its syntax only")
        return 0
    shutil.rmtree(FOLDER, ignore_errors=True)
    done = subprocess.run([str(python), "-m", "venv", str(FOLDER)], check=False)
    if done.returncode == 0:
        pip = [str(FOLDER / "bin/python"), "-m", "pip", "--disable-pip-version-check", "--quiet"]
        done = subprocess.run([*pip, "install", "--only-binary=:all:", NUMPY], check=False)
    if done.returncode:
        print(f"error: {python} cannot make {FOLDER} with {NUMPY}", file=sys.stderr)
        return 1
    (FOLDER / "ready").touch()
    print(f"{FOLDER}: {python} with {NUMPY}")
    return 0


def find_python38() -> Path | None:
    """The first Python 3.8 that runs: of PATH, then of pyenv."""
    named = shutil.which("python3.8")
    candidates = [Path(named)] if named else []
    candidates += sorted((Path.home() / ".pyenv/versions").glob("3.8*/bin/python"))
    question = "import sys, venv; sys.exit(sys.version_info[:2] != (3, 8))"
    for path in candidates:
        if subprocess.run([path, "-c", question], capture_output=True, check=False).returncode == 0:
            return path
    return None


if __name__ == "__main__":
    sys.exit(main())
