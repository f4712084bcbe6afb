import sys

import install_vehicle_python
import pytest
from install_vehicle_python import find_python38


@pytest.fixture
def machine(monkeypatch, tmp_path):
    """PATH and home are empty folders."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    return tmp_path


def put(path, code):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\nexit {code}\n")
    path.chmod(0o755)
    return path


def test_python_of_path_comes_first(machine):
    found = put(machine / "bin/python3.8", 0)
    put(machine / ".pyenv/versions/3.8.18/bin/python", 0)
    assert find_python38() == found


def test_one_that_does_not_run_is_passed_over(machine):
    """pyenv puts a python3.8 in PATH that refuses unless it was chosen."""
    put(machine / "bin/python3.8", 127)
    found = put(machine / ".pyenv/versions/3.8.18/bin/python", 0)
    assert find_python38() == found


def test_none(machine):
    assert find_python38() is None


def test_one_that_cannot_install_is_told_and_leaves_nothing(machine, monkeypatch, capsys):
    """Its environment comes about, but NumPy does not: there is no network, perhaps."""
    folder = machine / "vehicle"
    python = put(machine / "bin/python3.8", 0)
    python.write_text(
        '#!/bin/sh\n[ "$1" = -c ] && exit 0\n'
        '/bin/mkdir -p "$3/bin" && /bin/cp "$0" "$3/bin/python"\n[ "$2" = venv ]\n'
    )
    monkeypatch.setattr(install_vehicle_python, "FOLDER", folder)
    monkeypatch.setattr(sys, "argv", ["install_vehicle_python.py"])
    assert install_vehicle_python.main() == 0
    assert f"{python} cannot make {folder} with numpy==" in capsys.readouterr().out
    assert not folder.exists()
