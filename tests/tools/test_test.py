"""tools/test.py: the record and the boxes it leaves, and what it says to mistakes."""

import json

import pytest
import torch
import toys
from mmengine.registry import MODELS, DefaultScope

from kd3d.report.record import Record


@pytest.fixture(scope="module")
def config(tmp_path_factory, written):
    return written(tmp_path_factory.mktemp("toy"), distilled=True)


def save(model, path):
    with DefaultScope.overwrite_default_scope("mmdet"):
        detector = MODELS.build(model)
    state = detector.state_dict()
    state["bbox_head.retina_cls.bias"] += 3.0  # so that some boxes are above the threshold
    torch.save({"state_dict": state, "meta": {"dataset_meta": {"classes": toys.CLASSES}}}, path)
    return path


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return save(toys.retinanet(), tmp_path_factory.mktemp("weights") / "student.pth")


def test_a_test_leaves_record_and_boxes(start, config, checkpoint, tmp_path):
    flags = ["--role", "baseline", "--name", "baseline/seed0", "--seed", "0"]
    process = start("test.py", config, checkpoint, "--work-dir", tmp_path, *flags)
    out, err = process.communicate(timeout=100)
    assert process.returncode == 0, err
    path = tmp_path / "record-accuracy.json"
    assert out.splitlines()[-1] == f"record: {path}"
    record = Record.read(path)
    assert (record.kind, record.role, record.name) == ("accuracy", "baseline", "baseline/seed0")
    assert record.seed == 0
    assert 0 <= record.metrics["AP"] <= 100
    assert set(record.per_class) == set(toys.CLASSES)
    assert record.checkpoint == str(checkpoint)
    boxes = json.loads((tmp_path / record.files["predictions"]).read_text())
    assert boxes
    assert {box["category_id"] for box in boxes} <= {1, 2}


def test_a_misspelt_role_is_refused_before_the_test(run, config, checkpoint, tmp_path):
    flags = ["--work-dir", tmp_path / "run", "--role", "studnt"]
    done = run("test.py", config, checkpoint, *flags)
    assert done.returncode == 2
    assert "argument --role: invalid choice: 'studnt'" in done.stderr
    assert not (tmp_path / "run").exists()


def test_the_teacher_is_not_needed(run, config, checkpoint, tmp_path):
    teacher = "custom_hooks.0.teacher.checkpoint=no.pth"
    options = ["--work-dir", tmp_path, "--cfg-options", teacher]
    assert run("test.py", config, checkpoint, *options).returncode == 0


@pytest.mark.parametrize(
    ("option", "says"),
    [
        ("model.type=RetinaNett", "did you mean 'RetinaNet'"),
        ("test_evaluator.type=VOCMetric", "expected one COCO metric"),
        ("test_evaluator.ann_file=no.json", "no.json"),
        ("test_dataloader.dataset.ann_file=no.json", "no.json: no such file; make the data set"),
        ("test_dataloader=None", "it has no test_dataloader"),
        ("custom_hooks=[EMAHook]", "custom_hooks is a list of dicts"),
    ],
)
def test_mistakes_in_a_config(refused, config, checkpoint, tmp_path, option, says):
    flags = ["--work-dir", tmp_path, "--cfg-options", option]
    assert says in refused("test.py", config, checkpoint, *flags)


def test_checkpoints_that_cannot_be_tested(refused, config, checkpoint, tmp_path):
    def error(path):
        return refused("test.py", config, path, "--work-dir", tmp_path)

    assert error("no.pth").startswith("checkpoint no.pth: no such file")
    other = save(toys.retinanet(4, 16), tmp_path / "other.pth")
    assert f"checkpoint {other} does not fit RetinaNet" in error(other)
    cut = tmp_path / "cut.pth"
    cut.write_bytes(checkpoint.read_bytes()[:1000])
    assert f"checkpoint {cut}: cut off" in error(cut)
    text = tmp_path / "text.pth"
    text.write_text("not a checkpoint")
    assert f"checkpoint {text}: " in error(text)


def test_a_backend_wants_an_exported_folder(refused, config, checkpoint, tmp_path):
    flags = ["--work-dir", tmp_path, "--backend", "onnxruntime"]
    text = refused("test.py", config, checkpoint, *flags)
    assert text.startswith(f"{checkpoint} is no export folder: it has no export.json; make one")


def test_an_export_is_tested_as_the_model_that_it_holds(
    run, refused, written, config, checkpoint, tmp_path
):
    out, flags = tmp_path / "out", ["--work-dir", tmp_path / "run", "--backend", "onnxruntime"]
    assert (
        run("export.py", config, checkpoint, "--out", out, "--input-size", 64, 64).returncode == 0
    )

    def options(*given):
        return ["test.py", config, out, *flags, "--cfg-options", *given]

    of_training = ("model.train_cfg.assigner.pos_iou_thr=0.6", "model.bbox_head.loss_cls.gamma=1.5")
    assert run(*options(*of_training, "test_dataloader.batch_size=1")).returncode == 0
    (tmp_path / "run/record-accuracy.json").unlink()

    assert "model.test_cfg.score_thr is 0.05 there and 0.3 here" in refused(
        *options("model.test_cfg.score_thr=0.3")
    )
    text = refused(*options("test_dataloader.dataset.metainfo.classes=['b','a']"))
    assert f"{out} detects {list(toys.CLASSES)}, but test_dataloader of config {config}" in text
    (tmp_path / "other").mkdir()
    other = written(tmp_path / "other", model=toys.retinanet(8, 16))
    text = refused("test.py", other, out, *flags)
    assert f"{out} holds another model (" in text
    assert "model.backbone.base_channels is 4 there and 8 here, " in text
    assert text.endswith(f"; give its own config, {config}, or export again from this one")
    assert not (tmp_path / "run/record-accuracy.json").exists()


def test_pictures_need_a_painter(refused, run, config, checkpoint, tmp_path):
    flags = [config, checkpoint, "--work-dir", tmp_path, "--show-dir", "painted"]
    error = refused("test.py", *flags)
    assert "--show-dir needs a painter" in error
    assert run("test.py", *flags, *error.split(": ")[-1].split()).returncode == 0
    assert list(tmp_path.rglob("painted/*.png"))


def test_pictures_are_of_images_only(refused, config, checkpoint, tmp_path):
    flags = ["--work-dir", tmp_path, "--show-dir", "painted"]
    options = ["--cfg-options", "default_scope=mmdet3d"]
    error = refused("test.py", config, checkpoint, *flags, *options)
    assert "tools/report.py draws the record's boxes from above" in error
