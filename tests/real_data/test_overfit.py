"""A small CenterPoint learns one real keyframe by heart, and finds its boxes again."""

from pathlib import Path

import pytest
import torch
from keyframes import keyframe_dataset
from mmengine.dataset import pseudo_collate
from mmengine.registry import DATASETS, MODELS, DefaultScope

from kd3d.configs import load_config
from kd3d.models.separate_heads import initialize

CONFIG = Path(__file__).resolve().parents[2] / "configs" / "det3d"
CONFIG /= "centerpoint-pillar04_synthetic.py"
ITERATIONS = 250
MIN_SCORE = 0.3


def keyframe(config, folder):
    """Keyframe a, without objects that the cloud does not touch."""
    extent = list(config.model.data_preprocessor.voxel_layer.point_cloud_range)
    steps = [
        {"type": "LoadPointsFromFile", "coord_type": "LIDAR", "load_dim": 5, "use_dim": 5},
        {"type": "LoadAnnotations3D", "with_bbox_3d": True, "with_label_3d": True},
        {"type": "PointsRangeFilter", "point_cloud_range": extent},
        {"type": "ObjectRangeFilter", "point_cloud_range": extent},
        {"type": "ObjectNameFilter", "classes": list(config.class_names)},
        {"type": "Pack3DDetInputs", "keys": ["points", "gt_bboxes_3d", "gt_labels_3d"]},
    ]
    dataset = keyframe_dataset("a", folder, steps, list(config.class_names))
    with DefaultScope.overwrite_default_scope("mmdet3d"):
        return DATASETS.build(dataset)[0]


def train(model, data):
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.004, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.004, total_steps=ITERATIONS)
    model.train()
    for _ in range(ITERATIONS):
        batch = model.data_preprocessor(pseudo_collate([data]), True)
        loss, _ = model.parse_losses(model(**batch, mode="loss"))
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 10.0)
        optimizer.step()
        schedule.step()


def matched(truth, found):
    """For each true box the distance of its centre to the nearest found of its class, in metres.

    A found box answers for one true box only, the nearest first.
    """
    apart = torch.cdist(truth.bboxes_3d.tensor[:, :2], found.bboxes_3d.tensor[:, :2])
    other = truth.labels_3d[:, None] != found.labels_3d[None]
    apart[other | (found.scores_3d < MIN_SCORE)[None]] = torch.inf
    nearest = torch.full((len(apart),), torch.inf)
    while apart.numel() and apart.min() < 2:
        row, column = divmod(int(apart.argmin()), apart.shape[1])
        nearest[row] = apart[row, column]
        apart[row], apart[:, column] = torch.inf, torch.inf
    return nearest


@pytest.mark.slow
def test_the_boxes_of_one_keyframe_are_found_again(tmp_path):
    torch.manual_seed(0)
    config = load_config(CONFIG)
    data = keyframe(config, tmp_path)
    with DefaultScope.overwrite_default_scope("mmdet3d"):
        model = MODELS.build(config.model)
    initialize(model)
    train(model, data)
    with torch.no_grad():
        (result,) = model.eval().test_step(pseudo_collate([data]))
    truth, found = result.gt_instances_3d, result.pred_instances_3d
    apart_m = matched(truth, found)
    close = apart_m < 0.5
    false = int((found.scores_3d >= MIN_SCORE).sum()) - int((apart_m < 2).sum())
    print(
        f"{int(close.sum())} of {len(close)} within 0.5 m, mean {apart_m[close].mean():.3f} m, "
        f"{false} false"
    )
    assert len(close) > 30
    assert close.float().mean() > 0.9
    assert apart_m[close].mean() < 0.15
    assert false <= 0.1 * len(close)
