"""Every loss and mask for BEV maps trains a LiDAR student beside a teacher on other pillars."""

import pytest
import toys
import toys3d
from mmengine.runner import Runner

NECKS = {"student": "pts_neck[0]", "teacher": "pts_neck[0]"}
HEADS = {"student": "pts_bbox_head", "teacher": "pts_bbox_head"}
GAUSSIAN = {"type": "GaussianForeground"}
PAIRS = {
    "feature": dict(NECKS, loss={"type": "BevFeature"}, mask=GAUSSIAN),
    "regions": dict(
        NECKS,
        loss={"type": "BevFeature"},
        mask={"type": "RegionMask", "teacher": "pts_bbox_head"},
    ),
    "points": dict(NECKS, loss={"type": "BoxPoints"}),
    "cells": dict(NECKS, loss={"type": "Affinity"}, mask=GAUSSIAN, connector=None),
    "lattice": dict(NECKS, loss={"type": "Affinity"}, connector=None),
    "boxes": dict(NECKS, loss={"type": "Affinity", "between": "boxes"}, connector=None),
    "heat": dict(HEADS, loss={"type": "HeatmapResponse"}),
    "pivotal": dict(HEADS, loss={"type": "HeatmapResponse", "pivotal": 50}),
}


@pytest.fixture(scope="module")
def losses(tmp_path_factory):
    """What the first of two steps logged, of all pairs at once."""
    folder = tmp_path_factory.mktemp("lidar_losses")
    teacher = toys3d.teacher_config(folder / "teacher.py", toys3d.centerpoint(8, pillar_m=0.2))
    pairs = [dict(pair, name=name) for name, pair in PAIRS.items()]
    hooks = [{"type": "InitSeparateHeads"}, toys.distill_hook(teacher, pairs)]
    steps = []
    runner = Runner.from_cfg(toys3d.training(folder, toys3d.centerpoint(), hooks=hooks))
    runner.register_hook(toys.Watch(lambda _, outputs: steps.append(outputs)))
    runner.train()
    assert len(steps) == 2
    return {name: float(value) for name, value in steps[0].items()}


@pytest.mark.parametrize("name", PAIRS)
def test_pair_adds_a_finite_loss(losses, name):
    assert 0 < losses[f"loss_{name}"] < 1e4
