"""The distilled configs of the synthetic world: a real step on toy frames, without a cache."""

from functools import wraps
from pathlib import Path

import pytest
import torch
import toys3d
from lidar_configs import every_pair_teaches, learns_alone, on_one_batch, train_one_step
from mmengine.registry import DATASETS, DefaultScope

from kd3d.building import building
from kd3d.configs import load_config
from kd3d.datasets.replayed_augmentation import seeded
from kd3d.distill.additional_labels import AdditionalLabels
from kd3d.distill.truth import is_labelled
from kd3d.errors import UserError
from kd3d.losses.masks import RegionMask

ROOT = Path(__file__).resolve().parents[2]
DEMO = sorted((ROOT / "configs" / "demo").glob("*.py"))
SYNTHETIC = [*(ROOT / "configs" / "det3d").glob("*_from_*_synthetic*.py"), *DEMO]
CONFIGS = sorted(path for path in SYNTHETIC if "_from_" in path.stem)
FEW_LABELS = "centerpoint-pillar04-thin_from_pillar04_bev-response-labels_synthetic-few-labels"
STUDENT_FROM_TEACHER = {
    "centerpoint-pillar04-thin_from_pillar04-thin_int8-response_synthetic",
    "centerpoint-pillar04-thin_from_pillar04_bev-response-labels_synthetic",  # the demo's
    "centerpoint-pillar04-thin_from_pillar04_bev-response_synthetic",
    "centerpoint-pillar04-thin_from_pillar04_bev-response_synthetic-long",
    "centerpoint-pillar04-thin_from_pillar04_bev-response_synthetic-near",
    FEW_LABELS,
    f"{FEW_LABELS}-long",
    "centerpoint-pillar04-thin_from_pillar04_bev-response-labels_synthetic-near-few-labels",
    "centerpoint-pillar04-thin_from_pillar04_bev-response-labels_synthetic-near-fleet",
    "centerpoint-pillar04-thin_from_pillar04_response-labels_synthetic-fleet",
    "centerpoint-pillar04-thin_from_pillar04_response-labels_synthetic-fleet-unturned",
}


@pytest.fixture(scope="module")
def infos(tmp_path_factory):
    return toys3d.lidar_frames(tmp_path_factory.mktemp("synthetic"))


def reads(node, infos):
    """Lets every data set of a config read the toy frames, in place; all else stays."""
    for part in [node.get("dataset"), *node.get("datasets", [])]:
        if part is not None:
            reads(part, infos)
    if "ann_file" in node:
        node.update(data_root="", ann_file=str(infos), filter_empty_gt=False)
        node["data_prefix"] = {"pts": str(infos.parent), "sweeps": str(infos.parent)}
        if "indices" in node:  # a tenth of the frames, there
            node["indices"] = 2


def configured(path, infos, work_dir):
    config = on_one_batch(path, {}, work_dir, student=4, teacher=4)
    config.train_dataloader = load_config(path).train_dataloader
    if config.train_dataloader.dataset.type == "CBGSDataset":  # divides by the frames of each class
        config.train_dataloader.dataset = config.train_dataloader.dataset.dataset
    reads(config.train_dataloader.dataset, infos)
    config.train_cfg = {"type": "IterBasedTrainLoop", "max_iters": 1}
    config.load_from = None
    return config


def test_all_are_there():
    assert {path.stem for path in CONFIGS} == STUDENT_FROM_TEACHER
    assert [path.stem for path in DEMO if path not in CONFIGS] == ["centerpoint-pillar04_synthetic"]


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_one_training_step(path, infos, tmp_path):
    config = configured(path, infos, tmp_path)
    every_pair_teaches(config)


def test_a_frame_with_and_without_its_labels_has_one_entry_in_the_cache(infos):
    """The part with labels is a part of the one without: its frames come from either."""
    frames = load_config(ROOT / "configs" / "det3d" / f"{FEW_LABELS}.py").train_dataloader.dataset
    reads(frames, infos)
    with DefaultScope.overwrite_default_scope("mmdet3d"):
        joined = DATASETS.build(frames)
    for place in range(2):  # the frames with labels; all six follow
        packed = []
        for copy in (place, 2 + place):
            with seeded(0):  # draws the form
                packed.append(joined[copy])
        labelled, unlabelled = (each["data_samples"] for each in packed)
        assert len(labelled.gt_instances_3d.labels_3d) > 0
        assert len(unlabelled.gt_instances_3d.labels_3d) == 0
        assert labelled.metainfo["replay_key"] == unlabelled.metainfo["replay_key"]
        assert torch.equal(*(each["inputs"]["points"] for each in packed))


def test_the_demos_teacher_takes_a_step_alone(infos, tmp_path):
    (path,) = set(DEMO) - set(CONFIGS)
    learns_alone(configured(path, infos, tmp_path))


def test_a_class_without_a_frame_cannot_be_balanced(infos):
    (path,) = set(DEMO) - set(CONFIGS)
    frames = load_config(path).train_dataloader.dataset
    reads(frames, infos)
    wanted = "^config toy: CBGSDataset balances classes, and no frame has .*bicycle.*; take more"
    with (
        DefaultScope.overwrite_default_scope("mmdet3d"),
        pytest.raises(UserError, match=wanted),
        building("toy"),
    ):
        DATASETS.build(frames)


def test_with_few_labels_the_teacher_speaks_for_half_of_the_batch(infos, tmp_path, monkeypatch):
    path = ROOT / "configs" / "det3d" / f"{FEW_LABELS}.py"
    masked, completed = [], []
    weigh, complete = RegionMask.forward, AdditionalLabels.__call__

    @wraps(weigh)  # its arguments are chosen by their names
    def noting_weigh(self, **arguments):
        masked.append(arguments["labelled"].tolist())
        return weigh(self, **arguments)

    def noting_complete(self, samples, prediction):
        new = complete(self, samples, prediction)
        completed.append([[is_labelled(each) for each in part] for part in (samples, new)])
        return new

    monkeypatch.setattr(RegionMask, "forward", noting_weigh)
    monkeypatch.setattr(AdditionalLabels, "__call__", noting_complete)
    train_one_step(configured(path, infos, tmp_path))
    assert masked[-1] == [True, True, False, False]
    assert completed[-1] == [[True, True, False, False], [True] * 4]
