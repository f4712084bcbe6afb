import json
from pathlib import Path

import pytest
import torch
from mmdet.structures import DetDataSample
from mmengine.config import Config
from mmengine.model import BaseModel
from mmengine.registry import DATASETS, MODELS
from mmengine.runner import Runner
from mmengine.structures import InstanceData
from torch import nn
from torch.utils.data import Dataset

from kd3d.configs import load_config
from kd3d.errors import UserError
from kd3d.evaluation.accuracy import (
    _conditions,
    _conditions_of,
    config_hash,
    prepare_test,
    write_accuracy_record,
)
from kd3d.evaluation.coco_metric import CocoRecordMetric
from kd3d.files import sha256_of
from kd3d.report.record import Record


class OneBox(BaseModel):
    """A "detector" of 6 parameters that finds the same box in every image."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 2)

    def forward(self, inputs, data_samples=None, mode="predict"):
        for sample in data_samples:
            sample.pred_instances = InstanceData(
                bboxes=torch.tensor([[10.0, 10.0, 30.0, 30.0]]),
                scores=torch.tensor([0.9]),
                labels=torch.tensor([0]),
            )
        return data_samples


class TwoImages(Dataset):
    metainfo = {"classes": ("car",)}  # noqa: RUF012
    data_prefix = {"img": "images/"}  # noqa: RUF012

    def __init__(self, pipeline=()) -> None:
        self.pipeline = pipeline

    def __len__(self) -> int:
        return 2

    def __getitem__(self, index):
        sample = DetDataSample(metainfo={"img_id": index})
        return {"inputs": torch.zeros(3, 4, 4), "data_samples": sample}


@pytest.fixture(autouse=True)
def registered():
    """Adds the toys for one test: registries are global, and other tests may use these names."""
    MODELS.register_module(name="OneBox", module=OneBox)
    DATASETS.register_module(name="TwoImages", module=TwoImages)
    yield
    MODELS.module_dict.pop("OneBox")
    DATASETS.module_dict.pop("TwoImages")


@pytest.fixture
def cfg(tmp_path) -> Config:
    boxes = [[10, 10, 20, 20], [60, 60, 20, 20]]  # the first image's box is the one found
    truth = {
        "images": [{"id": 0}, {"id": 1}],
        "categories": [{"id": 1, "name": "car"}],
        "annotations": [
            {"id": n + 1, "image_id": n, "category_id": 1, "bbox": box, "area": 400, "iscrowd": 0}
            for n, box in enumerate(boxes)
        ],
    }
    (tmp_path / "truth.json").write_text(json.dumps(truth))
    torch.save({"state_dict": OneBox().state_dict(), "meta": {}}, tmp_path / "weights.pth")
    return Config(
        {
            "default_scope": "mmdet",
            "model": {"type": "mmengine.OneBox"},
            "test_dataloader": {
                "batch_size": 1,
                "dataset": {
                    "type": "mmengine.TwoImages",
                    "pipeline": [{"type": "Resize", "scale": (320, 192)}],
                },
                "sampler": {"type": "DefaultSampler", "shuffle": False},
                "collate_fn": {"type": "pseudo_collate"},
            },
            "train_cfg": {"max_epochs": 12},
            "test_cfg": {},
            "test_evaluator": {
                "type": "CocoMetric",  # as mmdet's own configs have it
                "ann_file": str(tmp_path / "truth.json"),
                "metric": "bbox",
                "format_only": False,
                "backend_args": None,
                "classwise": True,
            },
        }
    )


def test_a_test_run_leaves_predictions_and_a_record(cfg, tmp_path):
    work_dir = tmp_path / "distilled" / "seed3"
    prepare_test(cfg, work_dir)
    runner = Runner.from_cfg(
        Config(
            {
                **cfg.to_dict(),
                "train_cfg": None,
                "work_dir": str(work_dir),
                "load_from": str(tmp_path / "weights.pth"),
                "experiment_name": "accuracy",
            }
        )
    )
    metrics = runner.test()
    path = write_accuracy_record(
        runner,
        work_dir,
        checkpoint=str(tmp_path / "weights.pth"),
        role="distilled",
        name="distilled/seed3",
        seed=3,
        conditions={"schedule": "short"},
    )
    record = Record.read(path)
    assert path.name == "record-accuracy.json"
    # one of two objects found, one false box of equal score: recall 1/2 at precision 1
    assert record.metrics["AP50"] == pytest.approx(100 * 51 / 101)
    assert record.metrics["AP"] == pytest.approx(100 * metrics["coco/bbox_mAP"])
    assert record.per_class["car"]["AP50"] == pytest.approx(100 * 51 / 101)
    assert record.parameters == 2 * 2 + 2
    assert record.checkpoint_hash == sha256_of(tmp_path / "weights.pth")
    assert record.seed == 3
    assert record.dataset["img_prefix"] == "images/"
    assert record.conditions["images"] == 2
    assert record.conditions["input"] == "320x192"
    assert record.conditions["schedule"] == "short"
    assert len(json.loads((work_dir / record.files["predictions"]).read_text())) == 2


@pytest.mark.parametrize(
    ("resize", "size"),
    [
        ({"scale": 256}, "256x256"),
        ({"scale": [320, 192]}, "320x192"),
        ({"scale": (1333, float("inf")), "keep_ratio": True}, "1333xinf"),
        ({"scale": None}, None),
    ],
)
def test_a_record_tells_any_size_that_resize_takes(cfg, tmp_path, resize, size):
    cfg.test_dataloader.dataset.pipeline = [{"type": "Resize", **resize}]
    prepare_test(cfg, tmp_path)
    metric = CocoRecordMetric(str(tmp_path / "truth.json"))
    assert _conditions(cfg, metric).get("input") == size


@pytest.mark.parametrize("scale", [("a", "b"), "(320, 192)", [(320, 192), (256, 192)], [320]])
def test_a_size_that_no_record_can_tell_fails_before_the_test(cfg, tmp_path, scale):
    cfg.test_dataloader.dataset.pipeline = [{"type": "Resize", "scale": scale}]
    with pytest.raises(UserError, match=r"test_dataloader: Resize\(scale=...\): got .*, expected"):
        prepare_test(cfg, tmp_path)


def test_the_evaluator_of_mmdet_is_replaced_and_the_one_of_validation_left(cfg, tmp_path):
    cfg.val_evaluator = cfg.test_evaluator
    prepare_test(cfg, tmp_path)
    assert cfg.val_evaluator.type == "CocoMetric"
    assert cfg.test_evaluator == [
        {
            "type": "CocoRecordMetric",
            "ann_file": str(tmp_path / "truth.json"),
            "metric": "bbox",
            "format_only": False,
            "backend_args": None,
            "predictions": str(tmp_path / "predictions.bbox.json"),
        }
    ]


def test_a_config_may_name_classes_as_such(cfg, tmp_path):
    path = tmp_path / "with_classes.py"
    lines = [
        "from mmcv.transforms import Resize",
        "from mmdet.evaluation import CocoMetric",
        f"test_evaluator = dict(type=CocoMetric, ann_file={str(tmp_path / 'truth.json')!r})",
        "pipeline = [dict(type=Resize, scale=(320, 192))]",
        "test_dataloader = dict(dataset=dict(pipeline=pipeline))",
    ]
    path.write_text("\n".join(lines))
    cfg = load_config(path)
    prepare_test(cfg, tmp_path)
    assert [evaluator["type"] for evaluator in cfg.test_evaluator] == ["CocoRecordMetric"]
    metric = CocoRecordMetric(str(tmp_path / "truth.json"))
    assert _conditions(cfg, metric)["input"] == "320x192"


def test_another_metric_or_an_option_we_lack_is_refused(cfg, tmp_path):
    cfg.test_evaluator = {"type": "VOCMetric"}
    with pytest.raises(UserError, match="expected one COCO metric with an ann_file"):
        prepare_test(cfg, tmp_path)
    cfg.test_evaluator = {"type": "CocoMetric", "ann_file": "a.json", "use_mp_eval": True}
    with pytest.raises(UserError, match=r"sets \['use_mp_eval'\]"):
        prepare_test(cfg, tmp_path)


def test_a_record_tells_from_which_weights_the_training_started(cfg):
    before = config_hash(cfg)
    assert "started_from" not in _conditions_of(cfg)
    cfg.started_from = "work_dirs/before/iter_9.pth"
    assert _conditions_of(cfg)["started_from"] == "work_dirs/before/iter_9.pth"
    assert config_hash(cfg) == before


def test_config_hash_ignores_where_a_run_writes_but_not_what_it_computes(cfg):
    before = config_hash(cfg)
    cfg.work_dir, cfg.load_from = "elsewhere", str(Path("other.pth"))
    assert config_hash(cfg) == before
    cfg.train_cfg.max_epochs = 24
    assert config_hash(cfg) != before
    assert len(before) == 12
