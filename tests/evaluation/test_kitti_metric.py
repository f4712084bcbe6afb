"""mmdet3d's KITTI evaluation without a GPU, through the metric that leaves a record."""

import math
import pickle

import pytest
import torch
from kitti_toys import kitti_folder
from mmdet3d.structures import LiDARInstance3DBoxes

from kd3d.datasets.kitti_infos import kitti_infos
from kd3d.errors import UserError
from kd3d.evaluation.kitti_metric import KittiRecordMetric

FRAMES = 42  # with fewer than 41 objects, 40 recall positions cannot all be reached
CAR = [20, 0, -1.6, 4, 1.6, 1.5, -math.pi / 2]  # the toys' car in the LiDAR's frame


@pytest.fixture(scope="module")
def infos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("kitti")
    root = kitti_folder(folder / "training", FRAMES, zoom=10)
    path = folder / "infos.pkl"
    path.write_bytes(pickle.dumps(kitti_infos(root, list(range(FRAMES)))))
    return str(path)


def evaluated(infos, box, classes=("Car",), found=FRAMES):
    """The metric after ``box`` was found in the first ``found`` frames."""
    metric = KittiRecordMetric(infos)
    metric.dataset_meta = {"classes": list(classes)}
    for frame in range(FRAMES):
        count = int(frame < found)
        sample = {
            "sample_idx": frame,
            "pred_instances": {},
            "pred_instances_3d": {
                "bboxes_3d": LiDARInstance3DBoxes(torch.tensor([box] * count).view(-1, 7)),
                "scores_3d": torch.full((count,), 0.9 - frame / 100),
                "labels_3d": torch.zeros(count, dtype=torch.long),
            },
        }
        metric.process({}, [sample])
    return metric, metric.evaluate(FRAMES)


def test_what_is_found_in_place_counts_in_full(infos):
    metric, values = evaluated(infos, CAR)
    assert values["KITTI/AP"] == metric.accuracy.metrics["AP"] == pytest.approx(100)
    assert values["KITTI/Car_3D_AP40_moderate_strict"] == pytest.approx(100)
    assert metric.accuracy.per_class["Car"]["BEV hard"] == pytest.approx(100)
    assert metric.conditions["frames"] == FRAMES


def test_a_box_too_high_is_right_from_above(infos):
    """Moved up by a fifth of its height it overlaps by 0.8 / 1.2 = 0.67: below 0.7, above 0.5."""
    higher = [*CAR[:2], CAR[2] + 0.2 * CAR[5], *CAR[3:]]
    accuracy = evaluated(infos, higher)[0].accuracy
    assert accuracy.metrics["AP"] == 0
    assert accuracy.metrics["AP loose"] == pytest.approx(100)
    assert accuracy.metrics["BEV"] == pytest.approx(100)


def test_half_of_the_objects_give_half_of_the_positions(infos):
    # 21 of 42 found: recall reaches 0.5, the positions 1/40 to 20/40 count
    accuracy = evaluated(infos, CAR, found=FRAMES // 2)[0].accuracy
    assert accuracy.metrics["AP"] == pytest.approx(50, abs=2.5)


def test_nothing_found(infos):
    assert evaluated(infos, CAR, found=1)[0].accuracy.metrics["AP"] == 0


def test_classes_that_mmdet3d_cannot_judge_are_refused_before_the_first_frame(infos):
    metric = KittiRecordMetric(infos)
    with pytest.raises(UserError, match=r"cannot judge \['Van'\]"):
        metric.dataset_meta = {"classes": ["Car", "Van"]}
    with pytest.raises(UserError, match="metric='bbox'"):
        KittiRecordMetric(infos, metric="mAP")
