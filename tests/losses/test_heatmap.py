"""The response of a CenterHead worked out by hand, and between heads on other grids."""

import math
from dataclasses import replace

import pytest
import torch

from kd3d.bev_grid import BevGrid
from kd3d.errors import UserError
from kd3d.heads import CenterPrediction
from kd3d.losses import HeatmapResponse, heatmap_response

CAR = ("car",)


def kl(p, q):
    return q * math.log(q / p) + (1 - q) * math.log((1 - q) / (1 - p))


def square(half_m, cells):
    return BevGrid(-half_m, -half_m, half_m, half_m, cells, cells)


def prediction(scores, grid, names=CAR, tasks=(0,)):
    """One frame; scores (K, rows, columns); every box is 1 m in size, unturned, mid-cell."""
    logits = torch.as_tensor(scores, dtype=torch.float32).logit()[None]
    regression = torch.zeros(1, max(tasks) + 1, 10, grid.rows, grid.columns)
    regression[:, :, :2] = 0.5
    regression[:, :, 7] = 1.0
    return CenterPrediction(logits, regression, tasks, names, grid)


def quiet(grid, peaks, background=0.01, classes=1):
    """Scores of 0.01 but for the given {(class, row, column): score}."""
    scores = torch.full((classes, grid.rows, grid.columns), background)
    for place, score in peaks.items():
        scores[place] = score
    return scores


GRID = square(2.0, 4)  # cells of 1 m


def test_classes_by_hand():
    """Teacher 0.8 where the student has 0.3; heat 0.8 is below its floor of 1."""
    student = prediction(quiet(GRID, {(0, 1, 1): 0.3}), GRID)
    teacher = prediction(quiet(GRID, {(0, 1, 1): 0.8}), GRID)
    received = heatmap_response(student, teacher, gamma=0.0, box_weight=0.0)
    assert received.item() == pytest.approx(kl(0.3, 0.8), rel=1e-5)
    focused = heatmap_response(student, teacher, gamma=2.0, box_weight=0.0)
    assert focused.item() == pytest.approx(kl(0.3, 0.8) * 0.25, rel=1e-5)


def test_classes_are_divided_by_the_teachers_heat():
    """Heat 0.8 + 0.9 + 0.5; what lies at or below 0.1 adds nothing."""
    peaks = {(0, 0, 0): 0.8, (0, 0, 1): 0.9, (0, 3, 3): 0.5, (0, 2, 0): 0.09}
    teacher = prediction(quiet(GRID, peaks), GRID)
    student = prediction(quiet(GRID, peaks), GRID)
    student.logits[0, 0, 3, 3] = torch.tensor(0.2).logit()
    received = heatmap_response(student, teacher, gamma=0.0, box_weight=0.0)
    assert received.item() == pytest.approx(kl(0.2, 0.5) / 2.2, rel=1e-4)


def test_boxes_by_hand():
    """One peak of 0.8 (floor 1) and one of 0.6 further off: certainty 1.4."""
    scores = quiet(GRID, {(0, 0, 0): 0.8, (0, 3, 3): 0.6})
    student, teacher = prediction(scores, GRID), prediction(scores, GRID)
    student.regression[0, 0, 0, 0, 0] += 0.25  # a quarter of a cell of 1 m
    student.regression[0, 0, 3, 0, 0] += 0.1  # of a logarithm
    student.regression[0, 0, 9, 3, 3] += 2.0  # m/s, at a fifth
    student.regression[0, 0, 2, 1, 1] += 100.0  # no peak
    received = heatmap_response(student, teacher)
    expected = (0.8 * (0.25 + 0.1) + 0.6 * 2.0 / 5) / 1.4
    assert received.item() == pytest.approx(expected, rel=1e-4)
    half = heatmap_response(student, teacher, box_weight=0.5)
    assert half.item() == pytest.approx(expected / 2, rel=1e-4)


def test_only_the_highest_peaks_have_boxes():
    scores = quiet(GRID, {(0, 0, 0): 0.8, (0, 3, 3): 0.6})
    student, teacher = prediction(scores, GRID), prediction(scores, GRID)
    student.regression[0, 0, 2, 3, 3] += 1.0
    assert heatmap_response(student, teacher, peaks=1).item() == pytest.approx(0, abs=1e-6)
    assert heatmap_response(student, teacher, peaks=2).item() == pytest.approx(0.6 / 1.4)


def test_pivotal_cells_are_the_teachers_surest():
    teacher = prediction(quiet(GRID, {(0, 0, 0): 0.8, (0, 3, 3): 0.6}), GRID)
    student = prediction(quiet(GRID, {(0, 0, 0): 0.5, (0, 3, 3): 0.5, (0, 1, 2): 0.9}), GRID)
    loss = {"gamma": 0.0, "box_weight": 0.0}
    first, second, false = kl(0.5, 0.8), kl(0.5, 0.6), kl(0.9, 0.01)
    for pivotal, expected in ((1, first), (2, first + second), (None, first + second + false)):
        received = heatmap_response(student, teacher, pivotal=pivotal, **loss)
        assert received.item() == pytest.approx(expected / 1.4, rel=1e-4)


def test_nothing_found_is_finite_and_compares_background_only():
    teacher = prediction(quiet(GRID, {}), GRID)
    assert heatmap_response(teacher, teacher).item() == 0
    student = prediction(quiet(GRID, {(0, 0, 0): 0.5}), GRID)
    student.regression.add_(5.0)
    received = heatmap_response(student, teacher, gamma=0.0)
    assert received.item() == pytest.approx(kl(0.5, 0.01), rel=1e-5)


def test_tasks_may_be_grouped_differently():
    """The same predictions, with classes in another order and tasks of another make."""
    torch.manual_seed(0)
    scores = torch.rand(3, 4, 4)
    student = prediction(scores, GRID, ("car", "bus", "bike"), (0, 0, 1))
    teacher = prediction(scores[[2, 0, 1]], GRID, ("bike", "car", "bus"), (0, 1, 1))
    student.regression[:, 1, 2] = teacher.regression[:, 0, 2] = 3.0  # bikes stand elsewhere
    assert heatmap_response(student, teacher).item() == 0
    more = torch.cat([scores[[2, 0, 1]], torch.rand(1, 4, 4)])
    wider = prediction(more, GRID, ("bike", "car", "bus", "cone"), (0, 1, 1, 2))
    wider.regression[:, 0, 2] = 3.0
    assert heatmap_response(student, wider).item() == 0
    with pytest.raises(UserError, match=r"no \['cone'\] among \['car', 'bus', 'bike'\]"):
        heatmap_response(wider, student)


FINE, COARSE = square(4.0, 16), square(4.0, 8)  # cells of 0.5 m and 1 m


def test_teacher_on_finer_cells_keeps_its_peak_and_its_place():
    """0.5 m cells to 1 m: fine cell (5, 9) lies in coarse cell (2, 4), which then has 0.9.

    Its neighbour (5, 10) is no peak, and still all that (2, 5) has.
    """
    teacher = prediction(quiet(FINE, {(0, 5, 9): 0.9, (0, 5, 10): 0.8}), FINE)
    teacher.regression[0, 0, :2, 5, 9] = torch.tensor([0.3, 0.6])
    x_m, y_m = -4 + 9.3 * 0.5, -4 + 5.6 * 0.5
    student = prediction(quiet(COARSE, {(0, 2, 4): 0.9, (0, 2, 5): 0.8}), COARSE)
    student.regression[0, 0, :2, 2, 4] = torch.tensor([x_m + 4 - 4, y_m + 4 - 2])
    assert heatmap_response(student, teacher).item() == pytest.approx(0, abs=1e-5)
    student.regression[0, 0, 0, 2, 4] += 0.25
    assert heatmap_response(student, teacher).item() == pytest.approx(0.9 * 0.25, rel=1e-4)


def test_teacher_on_coarser_cells_paints_its_peak_where_its_box_is():
    """1 m cells to 0.5 m: interpolation alone reaches 0.9 nowhere; the box's centre says where."""
    teacher = prediction(quiet(COARSE, {(0, 2, 4): 0.9}), COARSE)
    teacher.regression[0, 0, :2, 2, 4] = torch.tensor([0.8, 0.2])  # the right, lower quarter
    student = prediction(quiet(FINE, {(0, 4, 9): 0.5}), FINE)
    student.logits.requires_grad_()
    heatmap_response(student, teacher, box_weight=0.0).backward()
    pull = -student.logits.grad[0, 0]
    assert pull.argmax().item() == 4 * 16 + 9
    settled = student.logits.detach().clone().requires_grad_()
    settled.data[0, 0, 4, 9] = torch.tensor(0.9).logit()
    heatmap_response(replace(student, logits=settled), teacher, box_weight=0.0).backward()
    assert settled.grad[0, 0, 4, 9].abs() < 1e-5


def test_outside_of_the_teachers_range_nothing_is_compared():
    """Teacher +-2 m, student +-4 m; a student's peak beyond costs nothing, within it does."""
    small = square(2.0, 4)
    teacher = prediction(quiet(small, {(0, 1, 1): 0.9}), small)
    agreeing = quiet(COARSE, {(0, 3, 3): 0.9, (0, 0, 0): 0.99})
    assert heatmap_response(prediction(agreeing, COARSE), teacher).item() < 1e-5
    agreeing[0, 4, 4] = 0.99
    assert heatmap_response(prediction(agreeing, COARSE), teacher).item() > 1


def test_boxes_outside_of_the_students_range_have_no_say():
    small = square(2.0, 4)
    teacher = prediction(quiet(COARSE, {(0, 0, 0): 0.9}), COARSE)
    teacher.regression[:, :, 2:].add_(3.0)
    student = prediction(quiet(small, {}), small)
    assert heatmap_response(student, teacher).item() == pytest.approx(0, abs=1e-6)


def test_velocities_count_where_both_predict_them():
    scores = quiet(GRID, {(0, 0, 0): 0.8})
    student, teacher = prediction(scores, GRID), prediction(scores, GRID)
    student.regression[0, 0, 8:] += 5.0
    assert heatmap_response(student, teacher).item() == pytest.approx(0.8 * 2 * 5 / 5)
    without = replace(teacher, regression=teacher.regression[:, :, :8])
    assert heatmap_response(student, without).item() == pytest.approx(0, abs=1e-6)


def test_sizes_compare_in_logarithms_whatever_the_head_predicts():
    scores = quiet(GRID, {(0, 0, 0): 0.8})
    student, teacher = prediction(scores, GRID), prediction(scores, GRID)
    metres = teacher.regression.clone()
    metres[:, :, 3:6] = metres[:, :, 3:6].exp()
    plain = replace(teacher, regression=metres, log_size=False)
    assert heatmap_response(student, plain).item() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("cells", [8, 16, 32])
def test_what_learns_from_the_teacher_alone_finds_its_boxes(cells):
    """Teacher on 16 x 16 cells; the student starts with nothing, on coarser or finer cells too."""
    teacher = prediction(quiet(FINE, {(0, 5, 9): 0.9, (0, 12, 3): 0.7}), FINE)
    teacher.regression[0, 0, :, 5, 9] = torch.tensor([0.3, 0.6, -1, 1.4, 0.6, 0.4, 0.6, 0.8, 3, -2])
    student = prediction(quiet(square(4.0, cells), {}), square(4.0, cells))
    learned = student.logits.requires_grad_(), student.regression.requires_grad_()
    optimizer = torch.optim.Adam(learned, lr=0.1)
    for _ in range(150):
        optimizer.zero_grad()
        heatmap_response(student, teacher).backward()
        optimizer.step()
    boxes, _, scores = (found[0, :2] for found in student.detections(2))
    expected, _, sure = (found[0, :2] for found in teacher.detections(2))
    torch.testing.assert_close(scores, sure, atol=0.1, rtol=0)  # slower the nearer it is
    torch.testing.assert_close(boxes, expected, atol=0.15, rtol=0)


@pytest.mark.parametrize("gamma", [-1.0, 0.5])
def test_gamma_with_an_infinite_slope_is_refused(gamma):
    with pytest.raises(UserError, match=f"gamma 0 or at least 1, got {gamma}"):
        HeatmapResponse(gamma=gamma)
