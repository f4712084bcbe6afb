"""Equality with mmdet3d's coder is in test_pillar_deployable.py; here is one cell by hand."""

import math
from types import SimpleNamespace

import pytest
import torch

from kd3d.export.networks.center_decoding import center_groups, decode_center

CODER = SimpleNamespace(
    max_num=2, out_size_factor=4, voxel_size=[0.5, 0.25], pc_range=[-10.0, -20.0]
)


def head(**changes):
    return SimpleNamespace(
        **{"bbox_coder": CODER, "num_classes": [2], "norm_bbox": True, **changes}
    )


def maps(height=3, width=4, classes=2):
    """All zero but the heatmap, which is far below."""
    sizes = {"reg": 2, "height": 1, "dim": 3, "rot": 2, "vel": 2}
    found = {name: torch.zeros(1, size, height, width) for name, size in sizes.items()}
    found["rot"][:, 1] = 1.0
    found["heatmap"] = torch.full((1, classes, height, width), -9.0)
    return found


def test_one_cell_by_hand():
    found = maps()
    found["heatmap"][0, 1, 2, 3] = 0.0
    values = {"reg": [0.25, 0.5], "height": [1.0], "dim": [0.0, math.log(2), math.log(3)]}
    values |= {"rot": [1.0, -1.0], "vel": [0.5, -0.5]}
    for name, numbers in values.items():
        found[name][0, :, 2, 3] = torch.tensor(numbers)
    boxes, scores, labels = decode_center(head(), [[found]])
    assert boxes.shape == (1, 2, 9)
    assert scores[0, 0].item() == 0.5
    assert labels[0, 0].item() == 1
    assert labels.dtype == torch.int32
    expected = [
        3.25 * 4 * 0.5 - 10,  # column 3 and a quarter
        2.5 * 4 * 0.25 - 20,
        1.0 - 3 / 2,  # the head gives the centre
        *(1.0, 2.0, 3.0),
        3 * math.pi / 4,
        *(0.5, -0.5),
    ]
    assert boxes[0, 0].tolist() == pytest.approx(expected, abs=1e-5)


def test_tasks_follow_one_another_and_labels_count_through_them():
    first, second = maps(classes=2), maps(classes=1)
    first["heatmap"][0, 0, 0, 0], first["heatmap"][0, 1, 0, 1] = 1.0, 2.0
    second["heatmap"][0, 0, 1, 1], second["heatmap"][0, 0, 2, 2] = 5.0, 4.0
    both = head(num_classes=[2, 1])
    _, scores, labels = decode_center(both, [[first], [second]])
    assert labels.tolist() == [[1, 0, 2, 2]]
    assert scores[0].tolist() == pytest.approx([1 / (1 + math.exp(-v)) for v in (2, 1, 5, 4)])
    assert center_groups(both, (3, 4)) == (2, 2)


def test_fewer_cells_than_wanted_and_no_velocity():
    found = maps(1, 1)
    del found["vel"]
    boxes, scores, _ = decode_center(head(norm_bbox=False), [[found]])
    assert boxes.shape == (1, 1, 7)
    assert boxes[0, 0, 3:6].tolist() == [0.0, 0.0, 0.0]  # sizes as they are, no exponential
    assert center_groups(head(), (1, 1)) == (1,)
    assert scores.shape == (1, 1)


@pytest.mark.parametrize(
    ("sine", "cosine"),
    [(0, 1), (1, 1), (1, 0), (1, -1), (0, -1), (-1, -1), (-1, 0), (-1, 1), (0, 0), (1e-3, -2)],
)
def test_yaw_in_every_quadrant(sine, cosine):
    found = maps(1, 1)
    found["rot"][0, :, 0, 0] = torch.tensor([float(sine), float(cosine)])
    boxes, _, _ = decode_center(head(), [[found]])
    assert boxes[0, 0, 6].item() == pytest.approx(math.atan2(sine, cosine), abs=1e-6)
