"""A test run with nuScenes' metric through the Runner: record, curves, predictions."""

import json

import nuscenes_detections
import nuscenes_tables
import pytest
from mmengine.config import Config
from mmengine.model import BaseModel
from mmengine.registry import DATASETS, MODELS
from mmengine.runner import Runner
from torch import nn, save
from torch.utils.data import Dataset

from kd3d.errors import UserError
from kd3d.evaluation.accuracy import prepare_test, write_accuracy_record
from kd3d.report.record import Record

pytest.importorskip("mmdet3d")

DATA = nuscenes_tables.random_data_set(0, frames=6, objects=25)
INFOS = nuscenes_detections.infos_of(DATA, DATA.tokens(["scene-0103", "scene-0916"]))


class Replay(BaseModel):
    """A "detector" of 6 parameters that answers what the dataset knows already."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 2)

    def forward(self, inputs, data_samples=None, mode="predict"):
        return data_samples


class Known(Dataset):
    metainfo = nuscenes_detections.META
    data_prefix = {"pts": "samples/LIDAR_TOP"}  # noqa: RUF012

    def __init__(self) -> None:
        self.samples = nuscenes_detections.detections(DATA, INFOS, seed=1)

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index):
        return {"inputs": {}, "data_samples": self.samples[index]}


@pytest.fixture(autouse=True)
def registered():
    """Adds the toys for one test: registries are global, and other tests may use these names."""
    MODELS.register_module(name="Replay", module=Replay)
    DATASETS.register_module(name="Known", module=Known)
    yield
    MODELS.module_dict.pop("Replay")
    DATASETS.module_dict.pop("Known")


@pytest.fixture
def cfg(tmp_path) -> Config:
    dataroot = DATA.write(tmp_path / "nuscenes")
    nuscenes_detections.write_infos(dataroot / "infos.pkl", INFOS)
    save({"state_dict": Replay().state_dict(), "meta": {}}, tmp_path / "weights.pth")
    return Config(
        {
            "default_scope": "mmdet3d",
            "model": {"type": "mmengine.Replay"},
            "test_dataloader": {
                "batch_size": 1,
                "dataset": {
                    "type": "mmengine.Known",
                },
                "sampler": {"type": "DefaultSampler", "shuffle": False},
                "collate_fn": {"type": "pseudo_collate"},
            },
            "test_cfg": {},
            "test_evaluator": {  # as mmdet3d's own configs have it
                "type": "NuScenesMetric",
                "data_root": str(dataroot),
                "ann_file": str(dataroot / "infos.pkl"),
                "metric": "bbox",
                "backend_args": None,
            },
        }
    )


def test_a_test_run_leaves_scores_curves_and_predictions(cfg, tmp_path):
    work_dir = tmp_path / "teacher" / "seed0"
    prepare_test(cfg, work_dir)
    cfg.update(work_dir=str(work_dir), load_from=str(tmp_path / "weights.pth"))
    cfg.experiment_name = "accuracy-nuscenes"
    runner = Runner.from_cfg(cfg)
    metrics = runner.test()
    checkpoint = str(tmp_path / "weights.pth")
    before = sorted(work_dir.rglob("*"))
    with pytest.raises(UserError, match="got 'studnt'"):
        write_accuracy_record(runner, work_dir, checkpoint=checkpoint, role="studnt")
    assert sorted(work_dir.rglob("*")) == before
    record = Record.read(write_accuracy_record(runner, work_dir, checkpoint=checkpoint))
    assert record.metrics["NDS"] == pytest.approx(100 * metrics["NuScenes/NDS"])
    assert record.metrics["mATE"] == metrics["NuScenes/mATE"]
    names = ["NDS", "mAP", "mATE", "mASE", "mAOE", "mAVE", "mAAE"]
    assert list(record.metrics) == names
    distances = ["AP@0.5", "AP@1", "AP@2", "AP@4"]
    assert list(record.per_class["car"]) == ["AP", *distances, "ATE", "ASE", "AOE", "AVE", "AAE"]
    assert list(record.per_class["traffic_cone"]) == ["AP", *distances, "ATE", "ASE"]
    car = record.per_class["car"]
    assert car["AP"] == pytest.approx(sum(car[name] for name in distances) / 4)
    assert record.dataset["split"] == "mini_val"
    assert record.dataset["version"] == "v1.0-mini"
    assert "synthetic" not in record.dataset
    assert record.conditions["frames"] == 12
    assert record.parameters == 6
    curves = json.loads((work_dir / record.files["curves"]).read_text())
    assert len(curves["car"]["0.5"]["recall"]) == len(curves["car"]["4"]["precision"]) == 101
    predictions = json.loads((work_dir / record.files["predictions"]).read_text())
    assert record.files["predictions"] == "predictions.nuscenes.json"
    assert len(predictions["results"]) == 12


def test_options_of_mmdet3d_that_ours_lacks_are_refused(cfg, tmp_path):
    cfg.test_evaluator.format_only = True
    with pytest.raises(UserError, match=r"\['format_only'\], which NuScenesFastMetric does not"):
        prepare_test(cfg, tmp_path)
