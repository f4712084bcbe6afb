import copy
import json

import pytest
import torch
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmengine.registry import init_default_scope

from kd3d.backends.ssh import Host
from kd3d.errors import UserError
from kd3d.export.detections import backend_detector as module_under_test
from kd3d.export.detections.backend_detector import backend_detector
from kd3d.export.folder import write_export
from kd3d.export.networks.deployable import deployable
from kd3d.export.open_backend import host_as_config, host_from_config

SOURCE = {"config": "c.py", "config_hash": "1", "checkpoint": "w.pth", "checkpoint_hash": "2"}


@pytest.fixture
def exported(build, tmp_path):
    """Exports a family and answers (detector, backend detector); closes it afterwards."""
    opened = []

    def export(family, *, batch=None, backend="onnxruntime", image_size=None):
        detector, cfg = build(family)
        write_export(
            deployable(detector, image_size=image_size),
            cfg,
            tmp_path,
            size=(64, 96),
            batch=batch,
            opset=17,
            classes=["a", "b", "c"],
            source=SOURCE,
        )
        init_default_scope("mmdet")
        opened.append(MODELS.build(backend_detector(tmp_path, backend, cfg)))
        return detector, opened[-1]

    yield export
    for model in opened:
        model.close()


def raw_batch(count, height=64, width=96):
    """What a data loader hands to ``test_step``: uint8 images, samples with their sizes."""
    generator = torch.Generator().manual_seed(5)
    images = [
        torch.randint(0, 256, (3, height, width), dtype=torch.uint8, generator=generator)
        for _ in range(count)
    ]
    meta = {"img_shape": (height, width), "ori_shape": (2 * height, 2 * width)}
    meta["scale_factor"] = (0.5, 0.5)
    return {"inputs": images, "data_samples": [DetDataSample(metainfo=meta) for _ in images]}


@pytest.mark.parametrize("batch", [None, 2])
def test_equals_the_detector_in_the_test_loop(family, exported, batch):
    detector, model = exported(family, batch=batch)
    expected = detector.test_step(raw_batch(3))  # 3 images through a file of 2: one is filled up
    found = model.test_step(raw_batch(3))
    assert len(found) == 3
    for mine, theirs in zip(found, expected, strict=True):
        assert len(mine.pred_instances) > 0
        assert torch.equal(mine.pred_instances.labels, theirs.pred_instances.labels)
        torch.testing.assert_close(
            mine.pred_instances.bboxes, theirs.pred_instances.bboxes, rtol=1e-3, atol=1e-2
        )


@pytest.mark.parametrize("family", ["retinanet", "faster_rcnn", "detr"])
def test_smaller_images_are_padded_as_in_a_mixed_batch(family, exported):
    detector, model = exported(family, image_size=(32, 64))
    mixed = raw_batch(1, 64, 96)
    small = raw_batch(1, 32, 64)
    for key in mixed:
        mixed[key] += raw_batch(1, 32, 64)[key]
    expected = detector.test_step(mixed)[1].pred_instances
    found = model.test_step(small)[0].pred_instances
    assert torch.equal(found.labels, expected.labels)
    torch.testing.assert_close(found.bboxes, expected.bboxes, rtol=1e-3, atol=1e-2)


@pytest.mark.parametrize(
    ("family", "warnings"), [("retinanet", 0), ("faster_rcnn", 1), ("detr", 1)]
)
def test_another_size_of_image_than_the_file_was_made_for_is_said_once(
    family, warnings, exported, monkeypatch
):
    said = []
    monkeypatch.setattr(module_under_test, "print_log", lambda *args: said.append(args[0]))
    _, model = exported(family)
    model.test_step(raw_batch(1))
    assert not said
    for _ in range(2):
        assert len(model.test_step(raw_batch(1, 32, 64))[0].pred_instances) > 0
    assert len(said) == warnings
    assert all("64x96" in text and "--image-size 32 64" in text for text in said)


def test_larger_images_are_refused(exported):
    _, model = exported("retinanet")
    with pytest.raises(UserError, match="--input-size"):
        model.test_step(raw_batch(1, 96, 96))


def test_copies_before_the_first_batch_and_has_nothing_to_train(exported):
    _, model = exported("retinanet")
    copied = copy.deepcopy(model)  # as EMAHook does
    assert list(copied.parameters()) == []
    copied.test_step(raw_batch(1))
    copied.close()
    with pytest.raises(NotImplementedError, match="only predicts"):
        model(torch.zeros(1, 3, 64, 96), [], mode="loss")


def test_another_folder(build, tmp_path):
    _, cfg = build("retinanet")
    with pytest.raises(UserError, match="is no export folder"):
        backend_detector(tmp_path, "onnxruntime", cfg)


def test_a_vehicle_passes_through_a_config(tmp_path):
    host = Host("driver@orin", 2222, tmp_path / "key", None, "python3.8", (0.1, 0.2))
    plain = host_as_config(host)
    assert json.loads(json.dumps(plain))["identity"] == str(tmp_path / "key")
    assert host_from_config(plain)["host"] == host
    assert host_as_config(None) is None
    assert host_from_config(None) == {}
