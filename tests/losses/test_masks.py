"""Masks: Gaussians as mmdet3d draws its targets, and regions by hand."""

import math

import pytest
import torch

import kd3d.losses
from kd3d.bev_grid import BevGrid
from kd3d.errors import UserError
from kd3d.heads import Anchor3DPrediction, CenterPrediction
from kd3d.losses.masks import (
    GaussianForeground,
    RegionMask,
    box_cells,
    gaussian_foreground,
    gaussian_radii,
)
from kd3d.registry import MASKS

theirs = pytest.importorskip("mmdet3d.models.utils")  # here, not in a test: it takes seconds
GRID = BevGrid(-10.0, -5.0, 10.0, 5.0, rows=20, columns=25)  # cells of 0.8 m x 0.5 m


def box(x, y, dx, dy, yaw=0.0):
    return torch.tensor([[x, y, 0.0, dx, dy, 1.5, yaw, 0.0, 0.0]])


def random_boxes(count):
    generator = torch.Generator().manual_seed(3)
    place = (torch.rand(count, 2, generator=generator) - 0.5) * torch.tensor([22.0, 11.0])
    size = torch.rand(count, 3, generator=generator) * 8 + 0.3
    rest = torch.zeros(count, 3)
    return torch.cat([place, torch.zeros(count, 1), size, rest], dim=1)


def test_every_mask_is_seen():
    assert {"GaussianForeground", "RegionMask"} == set(MASKS.module_dict)
    assert kd3d.losses.RegionMask is RegionMask


def test_radius_by_hand():
    """4 x 4 cells at overlap 1/3 (area 16, sum 8), the roots halved as in CenterNet's code."""
    inside = (8 + math.sqrt(64 - 4 * 16 * (2 / 3) / (4 / 3))) / 2
    outside = (16 + math.sqrt(16**2 - 4 * 4 * 16 * 2 / 3)) / 2
    moved = (-16 / 3 + math.sqrt((16 / 3) ** 2 + 4 * 4 / 3 * 16 * 2 / 3)) / 2
    received = gaussian_radii(torch.tensor([[4.0, 4.0]]), 1 / 3)
    assert received.item() == pytest.approx(min(inside, outside, moved))


def test_equals_mmdet3ds_targets():
    expected = torch.zeros(20, 25)
    boxes = random_boxes(40)
    for x, y, _, dx, dy, *_ in boxes.tolist():
        length, width = torch.tensor(dx / 0.8), torch.tensor(dy / 0.5)
        radius = max(2, int(theirs.gaussian_radius((width, length), min_overlap=0.1)))
        column, row = math.floor((x + 10) / 0.8), math.floor((y + 5) / 0.5)
        if 0 <= column < 25 and 0 <= row < 20:
            theirs.draw_heatmap_gaussian(expected, torch.tensor([column, row]), radius)
    received = gaussian_foreground(boxes, GRID)
    assert (expected == 1).sum() > 20
    torch.testing.assert_close(received, expected, rtol=1e-4, atol=1e-6)


def test_one_box_by_hand():
    """Smaller than a cell: radius 2, deviation 5/6, in column 12 and row 10."""
    drawn = gaussian_foreground(box(0.1, 0.1, 0.3, 0.3), GRID)
    for row in range(20):
        for column in range(25):
            far = max(abs(row - 10), abs(column - 12)) > 2
            square = (row - 10) ** 2 + (column - 12) ** 2
            expected = 0.0 if far else math.exp(-square / (2 * (5 / 6) ** 2))
            assert drawn[row, column].item() == pytest.approx(expected, abs=1e-6)


def test_boxes_outside_or_without_a_size_are_left_out():
    outside = torch.cat([box(10.5, 0.0, 4.0, 2.0), box(0.0, -5.1, 4.0, 2.0), box(0, 0, 0.0, 1.0)])
    assert (gaussian_foreground(outside, GRID) == 0).all()


def test_background_raises_what_no_box_reaches():
    mask = GaussianForeground(background=0.2)
    drawn = mask(boxes=[box(0.1, 0.1, 0.3, 0.3), torch.zeros(0, 9)], teacher_grid=GRID)
    assert drawn.shape == (2, 1, 20, 25)
    assert drawn.amax().item() == 1
    assert drawn.amin().item() == pytest.approx(0.2)
    assert (drawn[1] == drawn.amin()).all()


@pytest.mark.parametrize("wrong", [{"background": -0.1}, {"overlap": 1.0}, {"min_radius": -1}])
def test_settings_are_checked(wrong):
    with pytest.raises(UserError, match="GaussianForeground: expected background"):
        GaussianForeground(**wrong)


def test_images_are_refused():
    with pytest.raises(UserError, match="use it with 3D detectors on BEV taps"):
        GaussianForeground()(boxes=[], teacher_grid=None)


REGIONS = BevGrid(0.0, 0.0, 6.0, 1.0, rows=1, columns=6)


def heatmap(*scores):
    """One class and frame on REGIONS."""
    logits = torch.tensor(scores).logit().view(1, 1, 1, 6)
    return CenterPrediction(logits, torch.zeros(1, 1, 10, 1, 6), (0,), ("car",), REGIONS)


def regions(prediction, boxes, *, labelled=True):
    mask = RegionMask(true_positive=1.0, false_positive=0.5, false_negative=0.25, background=0.125)
    drawn = mask(
        boxes=[boxes],
        labelled=torch.tensor([labelled]),
        teacher_grid=REGIONS,
        prediction=prediction,
    )
    assert drawn.shape == (1, 1, 1, 6)
    return drawn.flatten().tolist()


def test_regions_by_hand():
    """Labels on cells 1 and 2, the teacher on 2, 3 and 4: each weight spread over its cells."""
    prediction = heatmap(0.05, 0.05, 0.9, 0.2, 0.11, 0.1)
    received = regions(prediction, box(2.0, 0.5, 1.8, 0.5))
    assert received == pytest.approx([0.125 / 2, 0.25, 1.0, 0.25, 0.25, 0.125 / 2])
    assert sum(received) == pytest.approx(1 + 0.5 + 0.25 + 0.125)


def test_regions_that_are_empty_count_nothing():
    received = regions(heatmap(*[0.01] * 6), torch.zeros(0, 9))
    assert received == pytest.approx([0.125 / 6] * 6)


def test_without_labels_the_teacher_is_not_called_false():
    prediction = heatmap(0.05, 0.05, 0.9, 0.2, 0.01, 0.01)
    received = regions(prediction, torch.zeros(0, 9), labelled=False)
    assert received == pytest.approx([0.125 / 4, 0.125 / 4, 0.5, 0.5, 0.125 / 4, 0.125 / 4])


def test_anchor_heads_tell_regions_too():
    """Anchors from edge to edge; of the first and the last cell the best class is above 0.1."""
    anchors = torch.tensor([[1.2 * x, 0.5, 0, 2, 1, 1, 0] for x in range(6)])
    logits = torch.full((1, 6, 2), -9.0)
    logits[0, 0, 1], logits[0, 3, 0], logits[0, 5, 0] = 2.0, -8.0, 1.0
    prediction = Anchor3DPrediction(
        logits,
        torch.zeros(1, 6, 7),
        None,
        anchors,
        templates=(),
        ranges=(),
        levels=((1, 6),),
        maps=(REGIONS,),
    )
    received = regions(prediction, torch.zeros(0, 9))
    assert received == pytest.approx([0.25, *[0.125 / 4] * 4, 0.25])


@pytest.mark.parametrize(
    ("yaw", "expected"),
    [(0.0, {(10, 11), (10, 12), (10, 13)}), (math.pi / 2, {(8, 12), (9, 12), (10, 12), (11, 12)})],
)
def test_cells_of_a_box_by_hand(yaw, expected):
    """2 m x 0.3 m at (0.1, 0.1): centres of columns 11 to 13 lie at -0.8, 0 and 0.8 m."""
    cells = box_cells(box(0.1, 0.05, 2.0, 0.5, yaw), GRID).nonzero().tolist()
    assert {tuple(cell) for cell in cells} == expected


def test_a_box_smaller_than_a_cell_has_the_cell_of_its_centre():
    cells = box_cells(torch.cat([box(0.39, 0.01, 0.1, 0.1), box(99, 0, 0.1, 0.1)]), GRID)
    assert cells.nonzero().tolist() == [[10, 12]]


def test_settings_of_regions_are_checked():
    with pytest.raises(UserError, match="RegionMask: expected weights of at least 0"):
        RegionMask(background=-1.0)
    with pytest.raises(UserError, match=r"a threshold in \(0, 1\)"):
        RegionMask(threshold=0.0)
