"""What of the Dockerfiles can be tried without Docker; docker/replay.py tries the rest."""

import os
import re
import runpy
import subprocess
import sys

import pytest
from module_imports import ROOT

DOCKER = ROOT / "docker"
instructions = runpy.run_path(str(DOCKER / "replay.py"))["instructions"]


def steps(name):
    return instructions((DOCKER / name).read_text())


def test_a_mount_that_fails_leaves_none_behind(tmp_path):
    """A replay with programs that only say what they were asked."""
    programs, log = tmp_path / "bin", tmp_path / "log"
    programs.mkdir()
    bodies = {
        "debootstrap": 'mkdir -p "$3/etc"',
        "mount": f'echo "mount $2" >>{log}; [ "$2" != /dev ]',
        "umount": f'echo "umount $1" >>{log}',
    }
    for name, body in bodies.items():
        (programs / name).write_text(f"#!/bin/sh\n{body}\n")
        (programs / name).chmod(0o755)
    root = tmp_path / "root"
    command = [sys.executable, str(DOCKER / "replay.py"), str(DOCKER / "Dockerfile.orin")]
    done = subprocess.run(
        [*command, "--root", str(root)],
        env={"PATH": f"{programs}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    assert log.read_text().split("\n")[:-1] == ["mount /proc", "mount /dev", f"umount {root}/proc"]


@pytest.fixture
def checked(tmp_path):
    """Runs the Orin image's step about TensorRT in a Python without packages but one's folder."""
    (command,) = [text for word, text in steps("Dockerfile.orin") if "find_spec" in text]
    python = tmp_path / "bin" / "python3"
    python.parent.mkdir()
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" -S "$@"\n')
    python.chmod(0o755)
    given = {"PATH": f"{python.parent}:{os.environ['PATH']}", "PYTHONPATH": str(tmp_path / "lib")}

    def run():
        return subprocess.run(["/bin/sh", "-c", command], env=given, capture_output=True, text=True)

    return run


def test_the_orin_image_is_not_built_on_a_base_without_bindings(checked):
    done = checked()
    assert done.returncode == 1
    assert done.stderr.startswith("error: python3 finds no module tensorrt, the bindings of")
    assert "--build-arg BASE=IMAGE" in done.stderr


def test_bindings_whose_driver_is_not_there_yet_are_enough(checked, tmp_path):
    package = tmp_path / "lib" / "tensorrt"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("raise OSError('libnvinfer.so: no libcuda.so.1')")
    done = checked()
    assert (done.returncode, done.stderr) == (0, "")


def test_operators_load_on_gpus_newer_than_the_list():
    """Machine code runs on its own generation alone; PTX is compiled by what comes after it."""
    (default,) = [
        text.partition("=")[2].strip('"')
        for word, text in steps("Dockerfile")
        if word == "ARG" and text.startswith("CUDA_ARCHITECTURES=")
    ]
    *others, last = default.split(";")
    assert last.endswith("+PTX")
    versions = [float(text.removesuffix("+PTX")) for text in (*others, last)]
    assert versions == sorted(versions)
    row = re.search(r"`CUDA_ARCHITECTURES` \| `(.*?)`", (DOCKER / "README.md").read_text())
    assert row[1] == default
