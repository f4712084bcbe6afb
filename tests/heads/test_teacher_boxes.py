"""Which of a teacher's boxes become labels, worked out on a few boxes in a row."""

import pytest
import torch

from kd3d.bev_grid import BevGrid
from kd3d.errors import UserError
from kd3d.heads import Anchor3DPrediction, CenterPrediction
from kd3d.heads.teacher_boxes import teacher_boxes

NAMES = ("car", "pedestrian")
ROWS, COLUMNS = 3, 12  # cells of 1 m
NONE = torch.zeros(0, 9)


def teacher(found):
    """One frame; found is {(class, row, column): score}; boxes 2 m long along x and 1 m wide."""
    logits = torch.full((1, 2, ROWS, COLUMNS), -9.0)
    for (label, row, column), score in found.items():
        logits[0, label, row, column] = torch.tensor(score).logit()
    regression = torch.zeros(1, 1, 10, ROWS, COLUMNS)
    regression[:, :, :2] = 0.5
    regression[:, :, 3] = torch.tensor(2.0).log()
    regression[:, :, 7] = 1.0
    grid = BevGrid(0.0, 0.0, COLUMNS, ROWS, ROWS, COLUMNS)
    return CenterPrediction(logits, regression, (0, 0), NAMES, grid)


def box(x, y, dx=2.0, dy=1.0):
    return torch.tensor([[x, y, -0.5, dx, dy, 1.0, 0.0, 0.0, 0.0]])


def only(frames):
    assert len(frames) == 1
    return frames[0]


def test_sure_boxes_become_labels_best_first():
    prediction = teacher({(0, 1, 2): 0.5, (1, 1, 9): 0.8, (0, 1, 6): 0.2})
    found = only(teacher_boxes(prediction, [NONE], NAMES, score_threshold=0.3))
    assert found.labels.tolist() == [1, 0]
    assert found.labels.dtype == torch.int64
    torch.testing.assert_close(found.boxes, torch.cat([box(9.5, 1.5), box(2.5, 1.5)]))


def test_threshold_by_class():
    prediction = teacher({(0, 1, 2): 0.5, (1, 1, 9): 0.5})
    thresholds = {"car": 0.6, "pedestrian": 0.4}
    found = only(teacher_boxes(prediction, [NONE], NAMES, score_threshold=thresholds))
    assert found.labels.tolist() == [1]
    with pytest.raises(UserError, match=r"a value for each of \['car', 'pedestrian'\]"):
        teacher_boxes(prediction, [NONE], NAMES, score_threshold={"car": 0.6})


@pytest.mark.parametrize(
    ("truth", "kept"),
    [
        (box(2.5, 1.5), False),  # the same box
        (box(3.4, 1.5, dx=0.2), False),  # its centre lies in ours, 0.9 m off, ours not in it
        (box(3.6, 1.5), True),  # 1.1 m apart, beyond both halves of 1 m
        (box(2.5, 2.05, dx=0.2, dy=0.2), False),  # beside both, but closer than the distance
        (box(2.5, 2.15, dx=0.2, dy=0.2), True),
        (box(8.0, 1.5, dx=12.0), False),  # a long one that our centre lies in
        (NONE, True),
    ],
)
def test_dropped_where_it_overlaps_ground_truth(truth, kept):
    prediction = teacher({(0, 1, 2): 0.5})
    found = only(teacher_boxes(prediction, [truth], NAMES, distance_m=0.6))
    assert len(found.boxes) == int(kept)


def test_the_better_of_two_that_overlap_stays_whatever_its_class():
    """At 2.5, 3.5 and 5.5 m: the first two overlap; the third touches none that is kept."""
    prediction = teacher({(0, 1, 2): 0.5, (1, 1, 3): 0.9, (0, 1, 5): 0.6})
    found = only(teacher_boxes(prediction, [NONE], NAMES))
    assert found.boxes[:, 0].tolist() == [3.5, 5.5]


def test_a_dropped_box_drops_none():
    """A chain: the second falls to the first, and so does not take the third with it."""
    prediction = teacher({(0, 1, 2): 0.9, (1, 1, 3): 0.8, (0, 1, 4): 0.7})
    found = only(teacher_boxes(prediction, [NONE], NAMES))
    assert found.boxes[:, 0].tolist() == [2.5, 4.5]


def test_classes_are_matched_by_name():
    prediction = teacher({(0, 1, 2): 0.5, (1, 1, 9): 0.8})
    found = only(teacher_boxes(prediction, [NONE], ("bus", "truck", "car")))
    assert found.labels.tolist() == [2]


def test_nothing_found_is_empty():
    found = only(teacher_boxes(teacher({}), [NONE], NAMES))
    assert found.boxes.shape == (0, 9)
    assert found.labels.shape == (0,)


def test_anchor_heads_teach_as_many_classes():
    prediction = Anchor3DPrediction(
        torch.tensor([[[2.0, -2.0], [-3.0, 1.0]]]),
        torch.zeros(1, 2, 7),
        None,
        torch.tensor([[1.0, 1, -0.5, 2, 1, 1, 0], [9.0, 1, -0.5, 2, 1, 1, 0]]),
        templates=(),
        ranges=(),
        levels=((1, 2),),
    )
    found = only(teacher_boxes(prediction, [NONE], NAMES))
    assert found.labels.tolist() == [0, 1]
    torch.testing.assert_close(found.boxes, torch.cat([box(1.0, 1.0), box(9.0, 1.0)]))
    with pytest.raises(UserError, match="an anchor head with 2; its classes have no names"):
        teacher_boxes(prediction, [NONE], ("car",))
