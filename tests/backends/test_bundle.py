"""A bundle as the vehicle reads it."""

import hashlib
import json

import numpy as np
import pytest

from kd3d.backends.base import TensorSpec
from kd3d.backends.bundle import Bundle, ModelFile
from kd3d.errors import UserError


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "model.onnx").write_bytes(b"graph")
    (tmp_path / "model-int8.onnx").write_bytes(b"quantised graph")
    report = {"kept_fp32": ["/conv1/Conv"], "calibration": {"frames": 64}}
    models = {
        "fp32": ModelFile.of(tmp_path / "model.onnx"),
        "int8": ModelFile.of(tmp_path / "model-int8.onnx", report),
    }
    content = {
        "models": {name: model.as_json() for name, model in models.items()},
        "inputs": [{"name": "images", "shape": [None, 3, 4, 6], "dtype": "float32"}],
        "outputs": ["boxes", "scores"],
        "profiles": {"images": {"min": [1, 3, 4, 6], "opt": [1, 3, 4, 6], "max": [8, 3, 4, 6]}},
        "classes": ["car"],
    }
    (tmp_path / "export.json").write_text(json.dumps(content))
    np.savez(
        tmp_path / "sample.npz",
        **{"input/images": np.ones((1, 3, 4, 6), np.float32), "output/boxes": np.zeros((1, 2, 4))},
        **{"output/scores": np.ones((1, 2, 1)), "boxes": np.zeros((1, 4))},
        scores=np.float32([0.5]),
        labels=np.array([0]),
    )
    return tmp_path


def test_everything_reads_back(folder):
    bundle = Bundle.read(folder)
    assert bundle.inputs == (TensorSpec("images", (None, 3, 4, 6), "float32"),)
    assert bundle.output_names == ("boxes", "scores")
    assert bundle.profiles["images"]["max"] == (8, 3, 4, 6)
    assert bundle.manifest["classes"] == ["car"]
    assert bundle.models["int8"].kept_fp32 == ("/conv1/Conv",)
    assert bundle.models["int8"].details == {"calibration": {"frames": 64}}
    assert bundle.verify("int8") == folder / "model-int8.onnx"
    assert bundle.sample_feeds()["images"].shape == (1, 3, 4, 6)
    assert set(bundle.expected_outputs()) == {"boxes", "scores"}
    assert bundle.sample_points() is None


def test_hash_is_of_the_whole_file(folder):
    found = Bundle.read(folder).models["fp32"].sha256
    assert found == hashlib.sha256(b"graph").hexdigest()


def test_changed_and_absent_files(folder):
    bundle = Bundle.read(folder)
    (folder / "model.onnx").write_bytes(b"another graph")
    with pytest.raises(UserError, match=r"its SHA-256 is .*copy or export it again"):
        bundle.verify("fp32")
    (folder / "model.onnx").unlink()
    with pytest.raises(UserError, match=r"model.onnx is gone; export again"):
        bundle.verify("fp32")
    with pytest.raises(UserError, match=r"holds fp32, int8, not 'fp16'.*fp32 int8 fp16"):
        bundle.model_path("fp16")
    (folder / "sample.npz").unlink()
    with pytest.raises(UserError, match=r"sample.npz is gone"):
        bundle.sample_feeds()


@pytest.mark.parametrize("damage", ["other arrays", "not whole"])
def test_a_sample_must_be_the_one_that_was_exported(folder, damage):
    sample = folder / "sample.npz"
    content = json.loads((folder / "export.json").read_text())
    content["sample_sha256"] = hashlib.sha256(sample.read_bytes()).hexdigest()
    (folder / "export.json").write_text(json.dumps(content))
    assert "images" in Bundle.read(folder).sample_feeds()
    if damage == "not whole":
        sample.write_bytes(sample.read_bytes()[:-10])
    else:
        np.savez(sample, **{"input/images": np.zeros((1, 3, 4, 6), np.float32)})
    for read in (Bundle.sample_feeds, Bundle.expected_outputs, Bundle.sample_points):
        with pytest.raises(
            UserError, match=r"sample.npz: its SHA-256 is .*copy or export it again"
        ):
            read(Bundle.read(folder))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "is no export folder"),
        ("{", "damaged"),
        ("[]", "no entry 'models'"),
        ('{"opset": 17}', "older version wrote it; export again"),
        ('{"models": {"fp32": {}}}', "damaged"),
        ('{"models": {}}', "no entry 'models' with a file"),  # nothing to compare is no parity
        ('{"models": {}, "inputs": [{}]}', "no entry 'models' with a file"),
    ],
)
def test_what_is_no_bundle(tmp_path, content, words):
    if content is not None:
        (tmp_path / "export.json").write_text(content)
    with pytest.raises(UserError, match=words):
        Bundle.read(tmp_path)
