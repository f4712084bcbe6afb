import json

import numpy as np
from toys_bundle import write_bundle

from kd3d.backends.bundle import FILE_NAME, SAMPLE_FILE, Bundle
from kd3d.backends.open_bundle import open_bundle
from kd3d.backends.part_bundle import part_bundle
from kd3d.files import sha256_of


def test_a_part_is_a_bundle_with_the_inputs_and_outputs_that_it_has(tmp_path):
    folder = write_bundle(tmp_path / "whole")
    content = json.loads((folder / FILE_NAME).read_text())
    bounds = {"min": [1, 8], "opt": [1, 8], "max": [4, 8]}
    content["inputs"].append({"name": "other", "shape": [1], "dtype": "float32"})
    content["outputs"].append("z")
    content["sample_sha256"] = sha256_of(folder / SAMPLE_FILE, 64)
    content["profiles"] = {"x": bounds, "other": bounds}
    (folder / FILE_NAME).write_text(json.dumps(content))
    whole = Bundle.read(folder)
    for _ in range(2):  # it is made anew
        part = part_bundle(whole, folder / "model.onnx", tmp_path / "part")
    assert [spec.name for spec in part.inputs] == ["x"]
    assert part.output_names == ("y",)
    assert list(part.profiles) == ["x"]
    assert part.sample_feeds() == {}  # its sample is another, and empty
    with open_bundle(part, "onnxruntime", engines=tmp_path) as backend:
        found = backend.infer(whole.sample_feeds())["y"]
    np.testing.assert_allclose(found, whole.expected_outputs()["y"])
