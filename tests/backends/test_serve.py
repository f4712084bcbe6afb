import io
import json

import numpy as np
from toys_bundle import write_bundle

from kd3d.backends.bundle import Bundle
from kd3d.backends.open_bundle import open_bundle
from kd3d.backends.serve import arrays_from_bytes, bytes_from_arrays, serve
from kd3d.backends.vehicle_side import MARK


def question(arrays):
    packed = bytes_from_arrays(arrays)
    return len(packed).to_bytes(8, "big") + packed


def test_arrays_survive_the_way_whatever_their_names():
    arrays = {"a/b": np.arange(6, dtype=np.int64).reshape(2, 3), "file": np.zeros(0, np.float32)}
    found = arrays_from_bytes(bytes_from_arrays(arrays))
    assert list(found) == ["a/b", "file"]
    for name, array in arrays.items():
        np.testing.assert_array_equal(found[name], array)
        assert found[name].dtype == array.dtype


def test_each_question_has_an_answer_and_a_mistake_does_not_end_it(tmp_path):
    bundle = Bundle.read(write_bundle(tmp_path))
    feeds = bundle.sample_feeds()
    asked = question({"z": feeds["x"]}) + question(feeds) + question(feeds)[:-3]
    answers = io.BytesIO()
    with open_bundle(bundle, "onnxruntime", engines=tmp_path) as backend:
        serve(backend, io.BytesIO(asked), answers)
    answers.seek(0)
    refused = json.loads(answers.readline().decode().removeprefix(MARK))
    assert refused == {"error": "expected inputs ['x'], got ['z']"}
    size = json.loads(answers.readline().decode().removeprefix(MARK))["size"]
    found = arrays_from_bytes(answers.read(size))
    np.testing.assert_allclose(found["y"], bundle.expected_outputs()["y"])
    assert answers.read() == b""  # the last question was cut
