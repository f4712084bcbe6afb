"""What ModelOpt is given of an export, and what its file becomes."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx

from kd3d.backends.bundle import FILE_NAME, Bundle, ModelFile
from kd3d.configs import load_config
from kd3d.errors import UserError
from kd3d.export.int8.calibration_data import calibration_feeds
from kd3d.export.manifest import CONFIG_FILE
from kd3d.export.open_backend import load_module
from kd3d.export.pillar_manifest import read_manifest
from kd3d.export.proof import Exported


def fixed_bundle(folder: Path) -> Bundle:
    """The export, if it has an INT8 file to compare with and no free size."""
    bundle = Bundle.read(folder)
    missing = {"fp32", "int8"} - set(bundle.models)
    if missing:
        raise UserError(f"{folder}: no {', '.join(sorted(missing))}; export with --precision int8")
    if any(None in spec.shape for spec in bundle.inputs):
        raise UserError(f"{folder}: its inputs have free sizes; export with --batch 1 or --pillars")
    return bundle


def write_calibration(folder: Path, frames: int, path: Path) -> Path:
    """The inputs that kd3d calibrates on, one after the other, as ModelOpt reads them."""
    manifest = read_manifest(folder)
    exported = Exported(folder, load_module(folder, manifest), manifest, [], real=0)
    cfg = load_config(str(folder / CONFIG_FILE))
    feeds = list(calibration_feeds(exported, cfg, count=frames))
    np.savez(path, **{name: np.concatenate([one[name] for one in feeds]) for name in feeds[0]})
    return path


def take_over(folder: Path) -> None:
    """Makes model-int8.onnx of a copied export the one that its export.json names."""
    content = json.loads((folder / FILE_NAME).read_text(encoding="utf-8"))
    content["models"]["int8"] = ModelFile.of(folder / "model-int8.onnx").as_json()
    (folder / FILE_NAME).write_text(json.dumps(content), encoding="utf-8")


def weighted_layers(path: Path) -> Iterator[tuple[str, bool]]:
    """Name of each convolution and matrix product, and whether its input is dequantised INT8."""
    graph = onnx.load(path).graph
    quantised = {n.output[0] for n in graph.node if n.op_type == "DequantizeLinear"}
    for node in graph.node:
        if node.op_type in ("Conv", "ConvTranspose", "Gemm", "MatMul"):
            yield node.name, node.input[0] in quantised
