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
    """For each true box the index of the nearest found of its class within 2 m; -1 for none.

    A found box answers for one true box only, the nearest first.
    """
    apart = torch.cdist(truth.bboxes_3d.tensor[:, :2], found.bboxes_3d.tensor[:, :2])
    other = truth.labels_3d[:, None] != found.labels_3d[None]
    apart[other | (found.scores_3d < MIN_SCORE)[None]] = torch.inf
    taken = torch.full((len(apart),), -1)
    while apart.numel() and apart.min() < 2:
        row, column = divmod(int(apart.argmin()), apart.shape[1])
        taken[row] = column
        apart[row], apart[:, column] = torch.inf, torch.inf
    return taken


def differences(truth, found):
    """Of N pairs of boxes: centres in m, sizes as 1 - IoU of aligned boxes, headings in rad."""
    apart_m = (truth[:, :3] - found[:, :3]).norm(dim=1)
    common = torch.minimum(truth[:, 3:6], found[:, 3:6]).prod(1)
    sizes = 1 - common / (truth[:, 3:6].prod(1) + found[:, 3:6].prod(1) - common)
    turned = truth[:, 6] - found[:, 6]
    return apart_m, sizes, torch.atan2(turned.sin(), turned.cos()).abs()


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
    taken = matched(truth, found)
    hit = taken >= 0
    own, given = truth.bboxes_3d.tensor[hit], found.bboxes_3d.tensor[taken[hit]]
    apart_m, sizes, turned = differences(own, given)
    false = int((found.scores_3d >= MIN_SCORE).sum()) - len(apart_m)
    print(
        f"{int((apart_m < 0.5).sum())} of {len(taken)} within 0.5 m, mean {apart_m.mean():.3f} m, "
        f"{false} false; at most {sizes.max():.3f} apart in size, {turned.max():.3f} rad in heading"
    )
    assert len(taken) > 20
    assert (apart_m < 0.5).sum() > 0.9 * len(taken)
    assert apart_m.mean() < 0.15
    assert false <= 0.1 * len(taken)
    assert sizes.max() < 0.1
    assert turned.max() < 0.1  # a heading that points backwards would be pi
