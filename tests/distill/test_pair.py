"""A pair by itself: what it hands to its loss of maps that differ in what they cover."""

import pytest
import torch

import kd3d.losses.affinity
from kd3d.distill.pair import Scene
from kd3d.distill.pair_config import pair_from_config
from kd3d.distill.truth import Truth
from kd3d.losses.affinity import spread_cells

NEAR = (-8.0, -8.0, -5.0, 8.0, 8.0, 3.0)  # in cells of 1 m: 16 x 16
FAR = (-16.0, -16.0, -5.0, 16.0, 16.0, 3.0)  # 32 x 32, NEAR's in their midst


def box(x, y, dx=4.0, dy=2.0):
    return torch.tensor([[x, y, -1.0, dx, dy, 1.5, 0.0, 0.0, 0.0]])


def truth_of(*boxes, labelled=None):
    labels = [torch.zeros(len(each), dtype=torch.long) for each in boxes]
    flags = torch.ones(len(boxes), dtype=torch.bool) if labelled is None else labelled
    return Truth(list(boxes), labels, flags)


def compared(loss, student, teacher, truth=None, *, connector="auto", mask=None):
    """The loss of a pair whose student sees NEAR and whose teacher sees FAR."""
    config = {"name": "bev", "student": "neck", "teacher": "neck", "loss": loss}
    pair = pair_from_config(config if mask is None else {**config, "mask": mask})
    scene = Scene(truth, NEAR, FAR)
    pair.build_connectors(connector, student, teacher, torch.device("cpu"), scene)
    assert bool(len(pair.connectors)) == (connector == "auto")
    return pair(student, teacher, heads=(None, None), progress=0.0, scene=scene)


def random_maps(channels=4):
    generator = torch.Generator().manual_seed(0)
    student = torch.randn(1, channels, 16, 16, generator=generator)
    return student, torch.randn(1, channels, 32, 32, generator=generator)


def test_affinity_looks_at_the_whole_map_behind_a_connector(monkeypatch):
    """Where weights are equal the heaviest cells would be the first row's."""
    student, teacher = random_maps()
    chosen = []

    def noting(rows, columns, count):
        chosen.append((rows, columns, count))
        return spread_cells(rows, columns, count)

    monkeypatch.setattr(kd3d.losses.affinity, "spread_cells", noting)
    loss = {"type": "Affinity", "positions": 64}
    received = compared(loss, student, teacher)
    assert chosen == [(32, 32, 64)]
    # on these grids a resampled cell is the student's own, as it is without a connector
    expected = compared(loss, student, teacher, connector=None)
    torch.testing.assert_close(received, expected)
    for row in (8, 12, 16, 20):  # of every part of what the student sees
        changed = teacher.clone()
        changed[:, :, row : row + 4] += 3.0
        assert abs(compared(loss, student, changed) - received) > 1e-5


def test_affinity_leaves_out_what_the_student_does_not_see_behind_a_connector():
    student, teacher = random_maps()
    received = compared({"type": "Affinity"}, student, teacher)
    teacher[..., :8], teacher[..., :8, :] = 99.0, -99.0  # beyond -8 m
    torch.testing.assert_close(compared({"type": "Affinity"}, student, teacher), received)


def test_affinity_in_a_mask_keeps_to_the_mask():
    """Equal where the box is: 9 cells of the mask; everywhere else they differ."""
    student, teacher = random_maps()
    student[..., 6:10, 6:10] = teacher[..., 14:18, 14:18]
    loss, mask = {"type": "Affinity"}, {"type": "GaussianForeground", "min_radius": 1}
    truth = truth_of(box(0.5, 0.5, 0.3, 0.3))
    assert compared(loss, student, teacher, truth, mask=mask).item() == pytest.approx(0, abs=1e-9)
    assert compared(loss, student, teacher, truth).item() > 0.01


@pytest.mark.parametrize("loss", ["BoxPoints", "Affinity"])
def test_points_that_the_student_does_not_see_have_no_say_behind_a_connector(loss):
    """Two boxes over the edge of the student's range; beyond 8 m the teacher has something else."""
    generator = torch.Generator().manual_seed(1)
    student = torch.randn(1, 3, 16, 16, generator=generator)
    teacher = torch.randn(1, 3, 32, 32, generator=generator)
    truth = truth_of(torch.cat([box(7.4, 0.0), box(7.4, 5.0)]))
    settings = {"type": loss, **({"between": "boxes"} if loss == "Affinity" else {})}
    received = compared(settings, student, teacher, truth)
    expected = compared(settings, student, teacher, truth, connector=None)
    assert expected > 0.01
    torch.testing.assert_close(received, expected)
    teacher[..., 24:] += 5.0  # bilinear values at 7.4 m read nothing of column 24, at 8.5 m
    torch.testing.assert_close(compared(settings, student, teacher, truth), received)


def test_box_points_beyond_the_students_range_by_hand():
    """Three points of nine at 4.9 m, three at 7.9 m; those at 10.9 m would add 5 each."""
    student, teacher = torch.zeros(1, 1, 16, 16), torch.ones(1, 1, 32, 32)
    teacher[..., 25:] = 5.0
    truth = truth_of(box(7.9, 0.0, 6.0))
    loss = {"type": "BoxPoints", "relation_weight": 0.0}
    assert compared(loss, student, teacher, truth).item() == pytest.approx((3 + 3) / 6)


@pytest.mark.parametrize(
    ("loss", "expected"), [("BoxPoints", True), ("BevFeature", True), ("FeatureL2", False)]
)
def test_a_pair_knows_whether_it_leaves_out_what_the_student_does_not_see(loss, expected):
    pair = pair_from_config(
        {"name": "bev", "student": "neck", "teacher": "neck", "loss": {"type": loss}}
    )
    assert pair.leaves_out_beyond is expected
