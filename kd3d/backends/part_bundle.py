"""A part of a graph as a device bundle of its own, so that any backend can run it, anywhere."""

import json
import shutil
from pathlib import Path

import numpy as np

from kd3d.backends.bundle import (
    FILE_NAME,
    MODEL_FILES,
    SAMPLE_FILE,
    SAMPLE_HASH,
    Bundle,
    ModelFile,
)


def part_bundle(whole: Bundle, part: Path, folder: Path) -> Bundle:
    """Writes the bundle of a part; ``folder`` is made anew.

    Args:
        whole: what the part is of.
        part: an ONNX file, whose inputs are some of the whole one's; its precision is in the file,
            and in the bundle it is called "fp32".
        folder: to write into.
    """
    import onnx

    graph = onnx.load(part).graph
    inputs = {value.name for value in graph.input}
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    model = folder / MODEL_FILES["fp32"]
    shutil.copyfile(part, model)
    np.savez(folder / SAMPLE_FILE)  # a bundle has one; nobody asks for a part's
    content = {
        **{name: entry for name, entry in whole.manifest.items() if name != SAMPLE_HASH},
        "models": {"fp32": ModelFile.of(model).as_json()},
        "inputs": [entry for entry in whole.manifest["inputs"] if entry["name"] in inputs],
        "outputs": [value.name for value in graph.output],
        "profiles": {
            name: bounds for name, bounds in whole.manifest["profiles"].items() if name in inputs
        },
    }
    (folder / FILE_NAME).write_text(json.dumps(content), encoding="utf-8")
    return Bundle.read(folder)
