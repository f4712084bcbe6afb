"""The task metric of two backends, on a set whose truth is what the toy detector finds in it."""

import copy
import io
import json
import shutil
from dataclasses import replace

import numpy as np
import onnx
import pytest
from loopback_ssh import vehicle
from onnx import numpy_helper
from rich.console import Console
from toys import traffic
from toys_pillars import SOURCE

from kd3d.backends.bundle import FILE_NAME, HASH_DIGITS, ModelFile
from kd3d.backends.vehicle_files import vehicle_files
from kd3d.export.gate.comparison import detect_of
from kd3d.export.gate.metric_parity import MetricChange, SampleMetric
from kd3d.export.gate.parity_gate import parity_gate
from kd3d.export.gate.parity_table import gate_tables
from kd3d.export.image_export import export_images
from kd3d.export.int8.calibration_data import Frames, calibration_feeds
from kd3d.export.preprocessing import image_input
from kd3d.export.splits import split_images
from kd3d.files import sha256_of

__all__ = ["vehicle"]  # a fixture
CLASSES = ["car", "person", "bicycle"]
IMAGES = 6


def found_in(exported, cfg, files):
    """COCO annotations of the best boxes of each image."""
    annotations = []
    detect = detect_of(exported.manifest)
    for index, file in enumerate(files):
        feeds = image_input(cfg, exported.module.detector, file, (64, 64))
        with_reference = exported.module(_tensor(feeds))
        outputs = dict(zip(("boxes", "scores"), map(_array, with_reference), strict=True))
        boxes, scores, labels = detect(outputs)[0]
        for (x1, y1, x2, y2), _, label in list(zip(boxes, scores, labels, strict=True))[:8]:
            box = [float(x1), float(y1), float(x2 - x1), float(y2 - y1)]
            entry = {"id": len(annotations) + 1, "image_id": index, "bbox": box, "iscrowd": 0}
            annotations.append({**entry, "category_id": int(label) + 1, "area": box[2] * box[3]})
    return annotations


def _tensor(array):
    import torch

    return torch.from_numpy(array)


def _array(tensor):
    return tensor.detach().numpy()


@pytest.fixture(scope="module")
def exported(tmp_path_factory, build):
    """A toy RetinaNet with its test set."""
    data = tmp_path_factory.mktemp("data")
    path = traffic(data, images=IMAGES)
    detector, original = build("retinanet")
    cfg = copy.deepcopy(original)
    for loader in (cfg.test_dataloader, cfg.train_dataloader):
        loader.num_workers, loader.persistent_workers = 0, False
        loader.dataset.update(
            data_root=f"{data}/", ann_file=path.name, data_prefix={"img": ""}, pipeline=[]
        )
        loader.dataset.metainfo = {"classes": tuple(CLASSES)}
    steps = [{"type": "LoadImageFromFile"}, {"type": "Resize", "scale": (64, 64)}]
    keys = ("img_id", "img_path", "ori_shape", "img_shape", "scale_factor")
    cfg.test_dataloader.dataset.pipeline = [*steps, {"type": "PackDetInputs", "meta_keys": keys}]
    cfg.test_evaluator = {"type": "CocoMetric", "ann_file": str(path), "metric": "bbox"}
    folder = tmp_path_factory.mktemp("export")
    settings = {"opset": 17, "classes": CLASSES, "source": SOURCE}
    found = export_images(detector, cfg, folder, size=(64, 64), **settings)
    content = json.loads(path.read_text())
    content["categories"] = [{"id": i + 1, "name": name} for i, name in enumerate(CLASSES)]
    content["annotations"] = found_in(found, cfg, split_images(cfg, "test", IMAGES))
    path.write_text(json.dumps(content))
    return found, cfg


def test_real_images_come_first(exported):
    found, _ = exported
    assert found.real == 4
    assert found.manifest.sample == "real"
    assert len(found.feeds) == 6
    assert len(found.feeds_of("int8")) == 4


def test_both_backends_have_the_same_metric(exported):
    metric = SampleMetric(exported[0].folder, 4)
    assert metric.is_here()
    reference = metric.measure("pytorch", "fp32")
    assert (reference.name, reference.samples, reference.synthetic) == ("AP", 4, False)
    assert reference.value > 30
    found = metric.measure("onnxruntime", "fp32")
    assert found.value == pytest.approx(reference.value, abs=0.1)


@pytest.fixture
def collapsed(exported, tmp_path):
    """As published: a quarter of the channels of one layer is lost, and AP with it."""
    folder = shutil.copytree(exported[0].folder, tmp_path / "faulty")
    model = onnx.load(folder / "model.onnx")
    node = next(n for n in model.graph.node if n.name == "/bbox_head/retina_cls/Conv")
    weight = next(w for w in model.graph.initializer if w.name == node.input[1])
    array = numpy_helper.to_array(weight).copy()
    array[:, ::2] *= -1
    weight.CopyFrom(numpy_helper.from_array(array, weight.name))
    onnx.save(model, folder / "model-int8.onnx")
    content = json.loads((folder / FILE_NAME).read_text())
    content["models"]["int8"] = ModelFile.of(folder / "model-int8.onnx").as_json()
    (folder / FILE_NAME).write_text(json.dumps(content))
    return folder


def test_a_silent_collapse_is_caught_by_each_level(collapsed):
    found = parity_gate(collapsed, precisions=["int8"], metric_samples=6, say=lambda text: None)
    (verdict,) = found.verdicts
    assert not verdict.parity.tensors_agree
    assert not verdict.parity.boxes_agree
    assert verdict.parity.boxes_decide
    assert not verdict.metric.passed
    assert verdict.metric.lost > 10
    assert "retina_cls" in verdict.departure.first.node
    for synthetic, said in ((False, "6 samples"), (True, "6 synthetic samples")):
        metric = replace(verdict.metric, synthetic=synthetic)
        console = Console(record=True, width=200, file=io.StringIO())
        console.print(*gate_tables(replace(found, verdicts=[replace(verdict, metric=metric)])))
        assert f", {said} " in console.export_text()


@pytest.mark.slow  # a connection for each part of the graph
def test_a_vehicle_answers_for_the_metric_and_shows_its_layers(collapsed, vehicle):
    """Over a real sshd; nothing stays there but what is asked for again."""
    host = vehicle.host()
    options = {"precisions": ["int8"], "metric_samples": 4, "say": lambda text: None}
    here = parity_gate(collapsed, backends=["onnxruntime"], **options)
    there = parity_gate(collapsed, backends=["onnxruntime"], host=host, **options)
    (ours,), (theirs,) = here.verdicts, there.verdicts
    assert theirs.metric.candidate == pytest.approx(ours.metric.candidate, abs=0.1)
    assert theirs.metric.lost > 10
    assert theirs.departure.first.layer == ours.departure.first.layer
    assert "retina_cls" in theirs.departure.first.node
    assert vehicle.left_behind() == []
    bundle = [collapsed / name for name in ("export.json", "sample.npz", "model-int8.onnx")]
    kept = [*bundle, *vehicle_files("kd3d.backends.serve").values()]
    cached = {path.name for path in (vehicle.cache / "files").iterdir()}
    assert cached == {sha256_of(path, HASH_DIGITS) for path in kept}


@pytest.mark.parametrize(
    ("reference", "candidate", "passed"),
    [(47.9, 4.5, False), (47.9, 47.5, True), (47.9, 47.3, False), (47.9, 49.9, True)],
)
def test_only_what_is_lost_counts(reference, candidate, passed):
    assert MetricChange("AP", reference, candidate, 50, limit=0.5).passed is passed


def test_nothing_is_measured_where_the_data_is_not(exported, tmp_path):
    folder = shutil.copytree(exported[0].folder, tmp_path / "elsewhere")
    text = (folder / "config.py").read_text()
    (folder / "config.py").write_text(text.replace("annotations.json", "absent.json"))
    found = parity_gate(folder, metric_samples=4, say=lambda text: None)
    assert found.passed
    assert found.verdicts[0].metric is None
    assert any("not on this machine" in reason for reason in found.left_out)


def test_calibration_takes_the_training_set_through_the_test_pipeline(exported):
    found, cfg = exported
    feeds = calibration_feeds(found, cfg, count=4)
    assert len(feeds) == 4
    files = split_images(cfg, "train", 4)
    assert [file.name for file in files] == ["0.png", "1.png", "3.png", "5.png"]
    expected = image_input(cfg, found.module.detector, files[2], (64, 64))
    np.testing.assert_array_equal(feeds[2]["images"], expected)
    given = calibration_feeds(found, cfg, count=2, images=files)
    assert len(given) == 2


def test_calibration_without_data(exported):
    from kd3d.errors import UserError

    found, cfg = exported
    cfg = copy.deepcopy(cfg)
    for loader in (cfg.train_dataloader, cfg.val_dataloader):
        loader.dataset.data_root = "absent/"
    with pytest.raises(UserError, match=r"needs real images .*'absent/', 'absent/'.*--image"):
        calibration_feeds(found, cfg, count=4)
    with pytest.raises(UserError, match="expected at least 1 frame"):
        calibration_feeds(found, cfg, count=0)


def test_frames_are_made_when_they_are_asked_for():
    asked = []

    def make(index):
        asked.append(index)
        return {"x": np.full(1, index)}

    frames = Frames(5, make)
    assert len(frames) == 5
    assert asked == []
    assert frames[3]["x"] == frames[-2]["x"] == 3
    assert [int(feeds["x"][0]) for feeds in frames[1:3]] == [1, 2]
    assert [int(feeds["x"][0]) for feeds in frames] == [0, 1, 2, 3, 4]
