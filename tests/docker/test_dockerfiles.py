"""What of the Dockerfiles can be tried without Docker; docker/replay.py tries the rest."""

import re
import runpy

from module_imports import ROOT

DOCKER = ROOT / "docker"
instructions = runpy.run_path(str(DOCKER / "replay.py"))["instructions"]


def steps(name):
    return instructions((DOCKER / name).read_text())


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
