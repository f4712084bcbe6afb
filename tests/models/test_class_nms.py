import pytest
import torch
from mmdet3d.models import layers
from mmdet3d.models.dense_heads import centerpoint_head
from toys_pillars import arrays, frames, pillar_config, pillar_detector, raw_batch

from kd3d.models import class_nms
from kd3d.models.class_nms import ClassNmsBBoxCoder

SETTINGS = {
    "pc_range": [0.0, 0.0],
    "post_center_range": [-50.0, -50.0, -10.0, 50.0, 50.0, 10.0],
    "out_size_factor": 1,
    "voxel_size": [1.0, 1.0],
    "max_num": 20,
    "score_threshold": 0.1,
    "code_size": 7,
}


@pytest.fixture(autouse=True)
def nothing_compiled(monkeypatch):
    """Seconds saved: numba's functions as plain Python."""
    for module in (centerpoint_head, class_nms):
        monkeypatch.setattr(module, "circle_nms", module.circle_nms.py_func)


def test_what_numba_compiles_is_kept_for_the_next_process():
    assert layers.circle_nms.stats.cache_path is not None


def maps(scores):
    """Heatmap (1, 2, 8, 8) with scores at {(class, row, column): score}, other maps alike."""
    heatmap = torch.zeros(1, 2, 8, 8)
    for (label, row, column), score in scores.items():
        heatmap[0, label, row, column] = score
    zeros = torch.zeros(1, 1, 8, 8)
    return [heatmap, zeros, zeros + 1, zeros, torch.ones(1, 3, 8, 8), None]


def test_only_boxes_of_one_class_suppress_each_other():
    coder = ClassNmsBBoxCoder(class_limits_m2=[[], [4.0, 1.0]], **SETTINGS)
    scores = {(0, 2, 2): 0.9, (1, 2, 2): 0.8, (0, 2, 4): 0.7, (1, 2, 4): 0.6, (0, 2, 5): 0.5}
    (found,) = coder.decode(*maps(scores), task_id=1)
    # 2 m away is within class 0's limit of 4 m2, not within class 1's of 1 m2; 3 m is within none
    assert found["scores"].tolist() == pytest.approx([0.9, 0.8, 0.6, 0.5])
    assert found["labels"].tolist() == [0, 1, 1, 0]
    assert found["bboxes"][:, 0].tolist() == [2.5, 2.5, 4.5, 5.5]


def test_nothing_found():
    coder = ClassNmsBBoxCoder(class_limits_m2=[[4.0, 1.0]], **SETTINGS)
    (found,) = coder.decode(*maps({}), task_id=0)
    assert found["bboxes"].shape == (0, 7)


def test_a_head_finds_what_its_classes_would_find_alone():
    """All boxes of the head without suppression, then by hand per class."""
    batch, by_class = raw_batch(frames(1)), pillar_config("centerpoint-by-class")
    everything = by_class.copy()
    with torch.no_grad():
        (found,) = pillar_detector(by_class).test_step(batch)
        everything.model.pts_bbox_head.bbox_coder.class_limits_m2 = [[-1.0] * 9] * 9
        (plain,) = pillar_detector(everything).test_step(raw_batch(frames(1)))
    boxes, scores, labels = arrays(plain.pred_instances_3d)
    kept = []
    for row in scores.argsort()[::-1]:
        same = [k for k in kept if labels[k] == labels[row]]
        if all(((boxes[k, :2] - boxes[row, :2]) ** 2).sum() > 6.0 for k in same):
            kept.append(row)
    assert 5 < len(kept) < len(scores)
    assert sorted(scores[kept]) == sorted(arrays(found.pred_instances_3d)[1])
