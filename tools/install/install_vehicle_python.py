"""Makes .venv/vehicle: Python 3.8 with NumPy 1.17, as JetPack 5.1 has them, to test with.

Run by `make test`, or by hand:

    .venv/bin/python tools/install/install_vehicle_python.py

Where that cannot be, it says why and is no failure; tests/test_python38.py then skips.
"""

import argparse
import shutil
import subprocess
import sys
from pathlib import Path

NUMPY = "numpy==1.17.4"  # the version of Ubuntu 20.04, on which JetPack 5.1 stands
FOLDER = Path(sys.prefix) / "vehicle"
SYNTAX_ONLY = "the vehicle's code is checked by its syntax only"


def main() -> int:
    """Makes the environment or says why not; returns the exit code, which is 0."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.parse_args()
    if (FOLDER / "ready").exists():
        return 0
    python = find_python38()
    if python is None:
        print(f"no Python 3.8 with its ensurepip found: {SYNTAX_ONLY}")
        return 0
    shutil.rmtree(FOLDER, ignore_errors=True)
    done = subprocess.run([str(python), "-m", "venv", str(FOLDER)], check=False)
    if done.returncode == 0:
        pip = [str(FOLDER / "bin/python"), "-m", "pip", "--disable-pip-version-check", "--quiet"]
        done = subprocess.run([*pip, "install", "--only-binary=:all:", NUMPY], check=False)
    if done.returncode:
        shutil.rmtree(FOLDER, ignore_errors=True)
        print(f"{python} cannot make {FOLDER} with {NUMPY}: {SYNTAX_ONLY}")
        return 0
    (FOLDER / "ready").touch()
    print(f"{FOLDER}: {python} with {NUMPY}")
    return 0


def find_python38() -> Path | None:
    """The first Python 3.8 that can make environments: of PATH, then of pyenv."""
    named = shutil.which("python3.8")
    candidates = [Path(named)] if named else []
    candidates += sorted((Path.home() / ".pyenv/versions").glob("3.8*/bin/python"))
    question = "import sys, ensurepip, venv; sys.exit(sys.version_info[:2] != (3, 8))"
    for path in candidates:
        if subprocess.run([path, "-c", question], capture_output=True, check=False).returncode == 0:
            return path
    return None


if __name__ == "__main__":
    sys.exit(main())
