"""Export folders of pillar detectors: written, read back, tested in MMEngine's loop, measured."""

import copy
import json
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from mmdet3d.models.dense_heads import centerpoint_head
from mmengine.registry import MODELS, init_default_scope
from toys3d import dataset, lidar_frames, pipeline
from toys_pillars import SOURCE, arrays, frames, pillar_config, pillar_detector, raw_batch

from kd3d.backends.box_matching import matching_boxes
from kd3d.backends.bundle import Bundle
from kd3d.backends.tolerances import Tolerances
from kd3d.errors import UserError
from kd3d.export.detections.backend_detector import backend_detector
from kd3d.export.open_backend import open_backend
from kd3d.export.pillar_export import cloud_feeds, export_pillars
from kd3d.export.pillar_manifest import read_manifest
from kd3d.export.point_clouds import synthetic_cloud
from kd3d.export.proof import Exported, export_parity, write_export_record
from kd3d.export.splits import split_clouds
from kd3d.export.voxelization import network_feeds, voxelize
from kd3d.files import sha256_of
from kd3d.report.record import Record

CLASSES = ["car", "truck", "pedestrian"]
FILES = {"model.onnx", "export.json", "config.py", "weights.pth", "sample.npz"}


@pytest.fixture(autouse=True)
def _uncompiled_nms(monkeypatch):
    nms = centerpoint_head.circle_nms.py_func
    monkeypatch.setattr(centerpoint_head, "circle_nms", nms)


@pytest.fixture(scope="module")
def export(tmp_path_factory):
    """Folder, detector, config and export of a model and batch, made once."""
    made = {}

    def get(name="centerpoint", batch=1, pillars=None):
        key = (name, batch, pillars)
        if key not in made:
            folder = tmp_path_factory.mktemp("export")
            cfg = pillar_config(name)
            detector = pillar_detector(cfg)
            frozen = {"opset": 17, "classes": CLASSES, "source": SOURCE}
            exported = export_pillars(detector, cfg, folder, batch=batch, pillars=pillars, **frozen)
            made[key] = (folder, detector, cfg, exported)
        return made[key]

    return get


@pytest.fixture
def in_place(export):
    """The exported file in the place of a detector; closed afterwards."""
    opened = []

    def build(backend="onnxruntime", **which):
        folder, detector, cfg, _ = export(**which)
        init_default_scope("mmdet3d")
        opened.append(MODELS.build(backend_detector(folder, backend, cfg)))
        return opened[-1], detector

    yield build
    for model in opened:
        model.close()


def test_folder_holds_everything_and_reads_back(export):
    folder, detector, _, exported = export()
    manifest = exported.manifest
    result = export_parity(exported)
    assert {path.name for path in folder.iterdir()} == FILES
    assert read_manifest(folder) == manifest
    assert result.passed
    assert result.inputs == 2
    assert result.boxes.reference > 5
    assert (manifest.batch, manifest.point_features, list(manifest.groups)) == (1, 5, [20, 20])
    assert manifest.input_text == "32x32 pillars of 0.4 m"
    assert manifest.sample_sha256 == sha256_of(folder / "sample.npz", 64)
    assert manifest.models["fp32"].sha256 == sha256_of(folder / "model.onnx", 64)
    assert manifest.parameters == sum(p.numel() for p in detector.parameters())
    text = json.loads((folder / "export.json").read_text())
    assert [entry["name"] for entry in text["inputs"]] == ["pillars", "num_points", "coordinates"]
    assert text["inputs"][0]["shape"] == [None, 8, 5]
    assert text["voxelization"]["grid"] == [32, 32, 1]
    for part in ("voxelization", "preprocessing", "postprocessing"):
        assert text[part]["steps"]
    bundle = Bundle.read(folder)
    sample = len(voxelize(bundle.sample_points(), manifest.voxelization)[0])
    assert text["pillar_profile"] == {"min": 1, "opt": sample, "max": 4000}
    profile = bundle.profiles["pillars"]
    assert profile == {"min": (1, 8, 5), "opt": (sample, 8, 5), "max": (4000, 8, 5)}


def test_sample_holds_the_boxes_of_its_frame(export):
    folder, detector, _, _ = export()
    with np.load(folder / "sample.npz") as sample:
        with torch.no_grad():
            expected = detector.test_step(raw_batch([sample["points"]]))[0].pred_instances_3d
        ours = sample["boxes"], sample["scores"], sample["labels"]
        assert len(matching_boxes(ours, arrays(expected), Tolerances())) == len(ours[1]) > 0


def test_record(export):
    _, _, _, exported = export()
    path = write_export_record(exported, export_parity(exported), role="teacher")
    record = Record.read(path)
    path.unlink()
    assert record.conditions["input"] == "32x32 pillars of 0.4 m"
    assert record.conditions["tolerance_box"] == 0.01
    assert record.conditions["sample"] == "synthetic"
    assert "tolerance_iou" not in record.conditions
    assert record.metrics["boxes_matched"] >= 0.98


def test_changed_weights_fail_parity(export):
    folder, detector, _, exported = export(batch=2)
    from kd3d.export.networks.pillar_deployable import pillar_deployable

    bias = detector.pts_bbox_head.task_heads[0].reg[-1].bias
    feeds = cloud_feeds([synthetic_cloud(5)], exported.manifest)
    with torch.no_grad():
        bias += 0.5  # of a cell of 0.8 m
        module = pillar_deployable(detector, batch=2)
        result = export_parity(Exported(folder, module, exported.manifest, feeds, real=0))
        bias -= 0.5
    assert not result.passed
    assert result.matched < 0.9


@pytest.mark.parametrize(
    "which", [{}, {"batch": 2}, {"name": "pointpillars-mvx", "batch": 2}, {"backend": "pytorch"}]
)
def test_equals_the_detector_in_the_test_loop(in_place, which):
    model, detector = in_place(**which)
    clouds = frames(3)  # of a file of two frames, the last run has one
    with torch.no_grad():
        expected = detector.test_step(raw_batch(clouds))
        found = model.test_step(raw_batch(clouds))
    assert len(found) == 3
    for mine, theirs in zip(found, expected, strict=True):
        ours, others = arrays(mine.pred_instances_3d), arrays(theirs.pred_instances_3d)
        assert len(others[1]) > 5
        assert len(matching_boxes(ours, others, Tolerances())) == len(others[1]) == len(ours[1])
        assert type(mine.pred_instances_3d.bboxes_3d) is type(theirs.pred_instances_3d.bboxes_3d)
        assert mine.pred_instances_3d.labels_3d.dtype == torch.int64


def test_copies_before_the_first_batch_and_only_predicts(in_place):
    model, _ = in_place()
    copied = copy.deepcopy(model)  # as EMAHook does
    assert list(copied.parameters()) == []
    copied.test_step(raw_batch(frames(1)))
    copied.close()
    with pytest.raises(NotImplementedError, match="only predicts"):
        model({"points": []}, [], mode="loss")


def test_backends_agree_from_the_folder(export):
    folder, _, _, exported = export(batch=2)
    feeds = network_feeds(frames(2), exported.manifest.voxelization)
    found = {}
    for name in ("onnxruntime", "pytorch"):
        with open_backend(folder, name, threads=1) as backend:
            found[name] = backend.infer(feeds)
    for name, array in found["pytorch"].items():
        np.testing.assert_allclose(found["onnxruntime"][name], array, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("batch", [1, 2])
def test_a_fixed_number_of_pillars_is_filled_up_and_answers_the_same(export, batch):
    free = export(batch=batch)[3].manifest
    folder, _, _, exported = export(batch=batch, pillars=600)
    assert export_parity(exported).passed
    assert read_manifest(folder) == exported.manifest
    bundle, rows = Bundle.read(folder), batch * 600
    assert [spec.shape for spec in bundle.inputs] == [(rows, 8, 5), (rows,), (rows, 4)]
    assert (bundle.profiles, bundle.manifest["pillar_profile"]["min"]) == ({}, rows)
    graph = onnx.load(folder / "model.onnx").graph
    assert all(axis.dim_value for i in graph.input for axis in i.type.tensor_type.shape.dim)
    feeds = network_feeds(frames(batch), exported.manifest.voxelization)
    few = network_feeds(frames(batch), free.voxelization)
    assert len(few["num_points"]) < len(feeds["num_points"]) == rows
    with (
        open_backend(folder, "onnxruntime", threads=1) as backend,
        open_backend(export(batch=batch)[0], "onnxruntime", threads=1) as reference,
    ):
        expected = reference.infer(few)
        for name, array in backend.infer(feeds).items():
            np.testing.assert_allclose(array, expected[name], rtol=1e-5, atol=1e-5)


def test_a_fixed_number_of_pillars_cuts_off_what_it_does_not_hold(export):
    folder, _, _, exported = export(pillars=20)
    assert export_parity(exported).passed
    feeds = network_feeds(frames(1), exported.manifest.voxelization)
    assert len(feeds["num_points"]) == 20
    assert feeds["num_points"].min() > 0
    with open_backend(folder, "pytorch") as backend:
        assert backend.infer(feeds)["boxes"].shape[0] == 1


def test_damaged_manifest(export, tmp_path):
    folder, _, _, _ = export()
    content = json.loads((folder / "export.json").read_text())
    del content["voxelization"]["range_m"]
    (tmp_path / "export.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match="damaged"):
        read_manifest(tmp_path)
    with pytest.raises(UserError, match="is no export folder"):
        read_manifest(tmp_path / "absent")


def test_clouds_of_the_test_set(tmp_path):
    infos = lidar_frames(tmp_path, frames=5)
    cfg = pillar_config("centerpoint")
    steps = pipeline(augmented=False)
    tested = [steps[0], steps[2], {"type": "Pack3DDetInputs", "keys": ["points"]}]
    settings = dataset(infos, test_mode=True, pipeline=tested)
    cfg.test_dataloader = {"dataset": settings}
    clouds = split_clouds(cfg, "test", 2)
    first, last = (np.fromfile(tmp_path / f"{i}.bin", np.float32).reshape(-1, 5) for i in (0, 4))
    for found, whole in zip(clouds, (first, last), strict=True):
        inside = (np.abs(whole[:, :2]) < 6.4).all(1)
        np.testing.assert_array_equal(found, whole[inside])
    (tmp_path / "4.bin").unlink()  # annotations may be here without their points
    assert split_clouds(cfg, "test", 2) == []
    Path(infos).unlink()
    assert split_clouds(cfg, "test", 2) == []
    assert split_clouds(pillar_config("centerpoint"), "test", 2) == []


def test_synthetic_cloud_looks_like_a_sweep():
    cloud = synthetic_cloud(4)
    assert cloud.shape[1] == 4
    assert 20_000 < len(cloud) < 34_560  # 32 beams of 1080 steps, less what meets nothing
    assert np.isfinite(cloud).all()
    assert np.array_equal(cloud, synthetic_cloud(4))
    assert not np.array_equal(cloud[:100], synthetic_cloud(4, seed=1)[:100])
