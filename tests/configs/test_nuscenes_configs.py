"""Every full-nuScenes config: built with its teacher from scratch, and trained for a real step."""

from pathlib import Path

import pytest
import torch
import toys3d
from lidar_configs import every_pair_teaches, on_one_batch
from mmengine.registry import MODELS, DefaultScope
from torch import nn

from kd3d.configs import load_config
from kd3d.distill.point_loading import pipelines
from kd3d.distill.teacher import drop_pretrained
from kd3d.profiling.costs.multiply_adds import multiply_adds
from kd3d.recipes.twins import teacher_hook

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = sorted((ROOT / "configs" / "det3d").glob("*_from_*_nuscenes.py"))
# How many times the student's and the teacher's range is made smaller: maps that can be halved as
# often as the backbones do it are left.
SMALLER = {
    "centerpoint-pillar02-compact_from_pillar02": (4, 4),
    "centerpoint-pillar02_from_voxel0075": (4, 3),
    "pointpillars-fpn-compact_from_fpn": (5, 5),
    "pointpillars-secfpn_from_ssn-regnet-400mf": (5, 5),
}
COMPACT = "centerpoint-pillar02-compact_nuscenes"
VOXEL = "mmdet3d::centerpoint/centerpoint_voxel0075_second_secfpn_8xb4-cyclic-20e_nus-3d.py"


@pytest.fixture(scope="module")
def infos(tmp_path_factory):
    return toys3d.lidar_frames(tmp_path_factory.mktemp("nuscenes"), frames=1)


def test_the_pairs_of_student_and_teacher_are_all_there():
    assert len(CONFIGS) == 4
    assert {path.stem.rsplit("_", 2)[0] for path in CONFIGS} == SMALLER.keys()


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_one_training_step(path, infos, tmp_path):
    steps = toys3d.pipeline(augmented=False)
    # no earlier turns, but their time in the place of the ring; PointPillars reads x y z and time
    values = [0, 1, 2, 4] if path.stem.startswith("pointpillars") else [0, 1, 2, 3, 4]
    none = {"type": "LoadPointsFromMultiSweeps", "sweeps_num": 0, "use_dim": values}
    steps.insert(1, none)
    student, teacher = SMALLER[path.stem.rsplit("_", 2)[0]]
    dataset = toys3d.dataset(infos, pipeline=steps)
    config = on_one_batch(path, dataset, tmp_path, student=student, teacher=teacher)
    every_pair_teaches(config)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_the_teacher_gets_all_points_that_it_sees(path):
    config = load_config(path)
    teacher = load_config(teacher_hook(config).teacher.config)
    (kept,) = (
        step.point_cloud_range
        for step in next(pipelines(config.train_dataloader))
        if step.type == "PointsRangeFilter"
    )
    seen = teacher.model.data_preprocessor.voxel_layer.point_cloud_range
    assert all(low <= first for low, first in zip(kept[:3], seen[:3], strict=True))
    assert all(high >= last for high, last in zip(kept[3:], seen[3:], strict=True))


def dense_multiply_adds(source, cells):
    """Of backbone, neck and head, on the meta device, which computes nothing."""
    config = load_config(source)
    drop_pretrained(config.model)
    with DefaultScope.overwrite_default_scope("mmdet3d"):
        parts = [MODELS.build(config.model[f"pts_{part}"]) for part in ("backbone", "neck")]
        head = {"train_cfg": config.model.train_cfg.pts, "test_cfg": config.model.test_cfg.pts}
        parts.append(MODELS.build({**config.model.pts_bbox_head, **head}))
    model = nn.ModuleList(parts).to("meta").eval()
    canvas = torch.zeros(1, config.model.pts_backbone.in_channels, cells, cells, device="meta")
    return multiply_adds(model, lambda: parts[2](parts[1](parts[0](canvas)))).total()


def test_the_compact_student_costs_an_eighth_of_the_voxel_teacher():
    """Over the same range, with its pillars counted (up to 0.2 G) and the teacher's voxels free."""
    student = dense_multiply_adds(CONFIGS[0].with_name(f"{COMPACT}.py"), 512)
    teacher = dense_multiply_adds(VOXEL, 1440 // 8)
    assert (student + 0.2e9) * 8 < teacher * (51.2 / 54) ** 2
