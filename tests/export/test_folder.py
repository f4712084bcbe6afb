"""Export folders: written, read back, run and measured, through the tool's own functions."""

import json

import numpy as np
import pytest
import torch
from toys_families import tiny_config, tiny_detector

from kd3d.backends.box_matching import BoxCounts
from kd3d.backends.bundle import Bundle
from kd3d.backends.parity import Parity, TensorDifference
from kd3d.backends.tolerances import Tolerances
from kd3d.errors import UserError
from kd3d.export.folder import check_target, write_export
from kd3d.export.image_export import random_images
from kd3d.export.manifest import Manifest
from kd3d.export.networks.deployable import deployable
from kd3d.export.open_backend import open_backend
from kd3d.export.pillar_manifest import read_manifest
from kd3d.export.proof import Exported, export_parity, write_export_record
from kd3d.report.record import Record

FILES = {"model.onnx", "export.json", "config.py", "weights.pth"}
SOURCE = {"config": "c.py", "config_hash": "1", "checkpoint": "w.pth", "checkpoint_hash": "2"}


def write(build, folder, family="retinanet", *, size=(64, 96), batch=None):
    detector, cfg = build(family)
    module = deployable(detector)
    names = ["car", "person", "bicycle"]
    manifest = write_export(
        module, cfg, folder, size=size, batch=batch, opset=17, classes=names, source=SOURCE
    )
    return Exported(folder, module, manifest, random_images(manifest, 2), real=0)


def test_folder_holds_everything_and_reads_back(build, tmp_path):
    exported = write(build, tmp_path)
    module, manifest = exported.module, exported.manifest
    assert {path.name for path in tmp_path.iterdir()} == FILES
    read = read_manifest(tmp_path)
    assert read.postprocessing == module.postprocessing
    assert read.input_size == (64, 96)
    assert read.batch is None
    assert list(read.level_sizes) == [96, 24]
    assert read.classes == ["car", "person", "bicycle"]
    assert read.parameters == sum(p.numel() for p in module.parameters())
    state = torch.load(tmp_path / "weights.pth", weights_only=True)
    assert list(state) == list(module.detector.state_dict())
    text = json.loads((tmp_path / "export.json").read_text())
    assert any("NMS" in step for step in text["postprocessing"]["steps"])
    assert manifest.versions["torch"]


def test_both_backends_agree_and_the_record_says_so(family, build, tmp_path):
    exported = write(build, tmp_path, family)
    result = export_parity(exported)
    assert result.passed
    assert result.inputs == 2
    assert result.boxes.reference > 5
    record = Record.read(write_export_record(exported, result, role="teacher", name="t"))
    assert (record.kind, record.role, record.name) == ("export", "teacher", "t")
    assert record.metrics["boxes_matched"] >= 0.98
    size = (tmp_path / "model.onnx").stat().st_size
    assert record.metrics["file_size_mb"] == pytest.approx(size / 1e6)
    assert record.conditions["passed"] is True


def test_a_detector_of_grey_images_is_exported_with_one_channel(tmp_path):
    cfg = tiny_config("gfl")
    cfg.model.backbone.in_channels = 1
    cfg.model.data_preprocessor.update(mean=[127.0], std=[50.0], bgr_to_rgb=False)
    exported = write(lambda _: (tiny_detector(cfg), cfg), tmp_path)
    assert export_parity(exported).passed
    assert [feeds["images"].shape[1] for feeds in exported.feeds] == [1, 1]
    read = read_manifest(tmp_path)
    assert Bundle.read(tmp_path).inputs[0].shape == (None, 1, 64, 96)
    assert read.profiles()["images"]["max"] == [8, 1, 64, 96]
    steps = read.preprocessing["steps"]
    assert steps.startswith("1. Load the image as grey,")
    assert "(B, 1, H, W)" in steps
    text = json.loads((tmp_path / "export.json").read_text())
    del text["channels"]  # as earlier exports have it
    assert Manifest.from_json(text).channels == 3


def test_pytorch_from_the_folder_equals_onnxruntime(build, tmp_path):
    write(build, tmp_path, "fcos", batch=2)
    feeds = random_images(read_manifest(tmp_path), 1)[0]
    assert feeds["images"].shape == (2, 3, 64, 96)
    with open_backend(tmp_path, "onnxruntime", threads=1) as backend:
        found = backend.infer(feeds)
    with open_backend(tmp_path, "pytorch") as backend:
        expected = backend.infer(feeds)
    assert set(found) == {"boxes", "scores", "factors"}
    for name, array in expected.items():
        np.testing.assert_allclose(found[name], array, rtol=1e-3, atol=1e-4)
    for exact in (True, False):
        assert open_backend(tmp_path, "pytorch", exact=exact).exact is exact


def test_changed_weights_fail_parity(build, tmp_path):
    exported = write(build, tmp_path)
    bias = exported.module.detector.bbox_head.retina_reg.bias
    with torch.no_grad():
        bias += 0.1
        result = export_parity(exported)
        bias -= 0.1
    assert not result.passed
    assert result.tensors["boxes"].max_relative > 1e-3 >= result.tensors["scores"].max_relative


def test_infinite_difference_is_still_a_record(build, tmp_path):
    exported = write(build, tmp_path)
    worst = {"boxes": TensorDifference(float("inf"), float("inf"), float("inf"), 3)}
    result = Parity(worst, 1, BoxCounts(), 0, Tolerances())
    assert not result.passed
    record = Record.read(write_export_record(exported, result))
    assert "max_abs_difference" not in record.metrics
    assert record.conditions["passed"] is False


@pytest.mark.parametrize(
    ("size", "words"), [((60, 96), "multiples of 32"), ((64, 90), "multiples of 32")]
)
def test_size_that_does_not_fit(build, tmp_path, size, words):
    with pytest.raises(UserError, match=words):
        write(build, tmp_path, size=size)
    assert list(tmp_path.iterdir()) == []


def test_size_whose_feature_maps_do_not_join(build, tmp_path):
    with pytest.raises(UserError, match=r"does not take inputs of 40x96 .*multiples of 32"):
        write(build, tmp_path, "rtmdet", size=(40, 96))


def test_existing_folder_is_replaced_only_on_request_and_if_an_export(tmp_path):
    target = tmp_path / "export"
    check_target(target, force=False)
    target.mkdir()
    check_target(target, force=False)
    (target / "thesis.tex").touch()
    for force, words in ((False, "--force"), (True, "is no export folder")):
        with pytest.raises(UserError, match=words):
            check_target(target, force=force)
    (target / "export.json").touch()
    check_target(target, force=True)


def test_damaged_and_absent_manifest(build, tmp_path):
    with pytest.raises(UserError, match="is no export folder"):
        read_manifest(tmp_path)
    (tmp_path / "export.json").write_text('{"input_name": "images"}')
    with pytest.raises(UserError, match=r"no entry 'models'.*export again"):
        read_manifest(tmp_path)
    (tmp_path / "export.json").write_text('{"models": {"fp32": {"file": "m.onnx"}}}')
    with pytest.raises(UserError, match="damaged"):
        read_manifest(tmp_path)


def test_unknown_backend(build, tmp_path):
    write(build, tmp_path)
    with pytest.raises(UserError, match="expected one of onnxruntime, tensorrt, pytorch"):
        open_backend(tmp_path, "openvino")
    with pytest.raises(UserError, match=r"holds fp32, not 'int8'.*--precision fp32 int8"):
        open_backend(tmp_path, "onnxruntime", precision="int8")
    with pytest.raises(UserError, match="runs the weights in fp32, not fp16"):
        open_backend(tmp_path, "pytorch", precision="fp16")
