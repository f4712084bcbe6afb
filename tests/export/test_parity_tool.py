"""tools/parity.py and the precisions of tools/export.py as a user calls them, in this process."""

import json

import numpy as np
import onnx
from onnx import numpy_helper
from toys import traffic

from kd3d.backends.bundle import FILE_NAME, Bundle, ModelFile
from kd3d.files import sha256_of
from kd3d.report.record import Record


def test_every_precision_is_exported_proved_and_gated(call, checkpoint, tmp_path):
    traffic(tmp_path / "images")
    images = sorted((tmp_path / "images").glob("*.png"))
    out = tmp_path / "out"
    files = checkpoint("retinanet")
    code, _, errors = call("export.py", *files, "--out", out, "--precision", "int8")
    assert code == 2
    assert "int8 needs real images" in errors
    assert not out.exists()
    code, text, _ = call(
        *("export.py", *files, "--out", out, "--precision", "fp16", "int8", "--image", *images)
    )
    assert code == 0, text
    bundle = Bundle.read(out)
    assert list(bundle.models) == ["fp32", "fp16", "int8"]
    for precision in bundle.models:
        assert f"{precision} parity over" in text
        bundle.verify(precision)
    assert bundle.manifest["sample"] == "real"
    assert bundle.manifest["sample_sha256"] == sha256_of(out / "sample.npz", 64)
    assert Record.read(out / "record-export.json").kind == "export"
    assert Record.read(out / "record-parity-onnxruntime-int8.json").kind == "parity"

    code, text, errors = call("parity.py", out)
    assert code == 0, text
    assert text.endswith(f"parity passed; records in {out}\n")
    assert "left out: task metric" in text
    assert text.count("  last layers ") == 2  # fp16 and int8
    assert "left out: last layers" not in text
    assert Record.read(out / "record-parity-onnxruntime-fp16.json").conditions["passed"] is True
    strict = ("--precision", "fp32", "--backends", "onnxruntime", "--strict")
    code, text, _ = call("parity.py", out, *strict)
    assert code == 1  # no test split here
    assert text.endswith("FAILED --strict: something was left out\n")
    assert call("parity.py", out, *strict, "--metric-samples", 0)[0] == 0

    model = onnx.load(out / "model-int8.onnx")
    head = next(n for n in model.graph.node if n.op_type == "Conv" and "retina_cls" in n.name)
    scale = scale_of_input(model, head)  # as if the range were taken thirty times too small
    wrong = (numpy_helper.to_array(scale) / 30).astype(np.float32)
    scale.CopyFrom(numpy_helper.from_array(wrong, scale.name))
    onnx.save(model, out / "model-int8.onnx")
    code, _, errors = call("parity.py", out, "--precision", "int8")
    assert code == 2
    assert "SHA-256" in errors
    content = json.loads((out / FILE_NAME).read_text())
    content["models"]["int8"]["sha256"] = ModelFile.of(out / "model-int8.onnx").sha256
    (out / FILE_NAME).write_text(json.dumps(content))
    code, text, errors = call("parity.py", out)
    assert code == 1, errors
    assert "onnxruntime int8 departs first at" in text
    assert "onnxruntime int8: last layers: /bbox_head/retina_cls" in text
    record = Record.read(out / "record-parity-onnxruntime-int8.json")
    assert record.conditions["passed"] is False
    assert "retina_cls" in record.conditions["departs_at"]
    assert Record.read(out / "record-parity-onnxruntime-fp16.json").conditions["passed"] is True


def scale_of_input(model, node):
    """Initializer with the scale of the Q/DQ pair before what a node reads."""
    dequantise = next(n for n in model.graph.node if node.input[0] in n.output)
    assert dequantise.op_type == "DequantizeLinear"
    return next(w for w in model.graph.initializer if w.name == dequantise.input[1])


def test_mistakes_and_help(call, tmp_path):
    code, _, errors = call("parity.py", tmp_path / "absent")
    assert (code, errors.count("\n")) == (2, 1)
    assert "no export folder" in errors
    code, _, errors = call("parity.py", tmp_path, "--set", "height=3")
    assert code == 2
    assert "expected NAME=VALUE" in errors
    for option in ("--frames", "--metric-samples"):
        code, _, errors = call("parity.py", tmp_path, option, -1)
        assert code == 2
        assert errors.endswith(f"error: {option} -1: expected 0 or more\n")
    code, text, _ = call("parity.py", "--help")
    assert code == 0
    assert "python tools/parity.py " in text
