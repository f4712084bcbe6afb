"""BEV maps read by metres, against hand values and plain pooling."""

import pytest
import torch
import torch.nn.functional as F

from kd3d.bev_grid import BevGrid
from kd3d.bev_sampling import covered, resample, same_grid, sample_at
from kd3d.errors import UserError

SOURCE = BevGrid(0.0, 0.0, 8.0, 4.0, rows=4, columns=8)  # cells of 1 m


def random_map(grid, channels=3):
    return torch.randn(2, channels, grid.rows, grid.columns)


def test_linear_function_of_metres_is_read_exactly():
    x_m, y_m = SOURCE.centers()
    value = (2 * x_m[None, :] + 5 * y_m[:, None])[None, None].repeat(2, 1, 1, 1)
    xy_m = torch.tensor([[[0.7, 1.1], [6.9, 3.4]], [[3.0, 2.0], [0.5, 0.5]]])
    expected = 2 * xy_m[..., 0] + 5 * xy_m[..., 1]
    torch.testing.assert_close(sample_at(value, SOURCE, xy_m)[:, 0], expected)


def test_beyond_the_outer_centres_the_border_continues():
    value = random_map(SOURCE)
    outside = torch.tensor([[[-50.0, 2.5], [100.0, 0.0]]])
    sampled = sample_at(value, SOURCE, outside)
    torch.testing.assert_close(sampled[..., 0], value[:, :, 2, 0])
    torch.testing.assert_close(sampled[..., 1], value[:, :, 0, 7])


@pytest.mark.parametrize(("reduce", "pool"), [("mean", F.avg_pool2d), ("max", F.max_pool2d)])
def test_whole_ratio_of_aligned_grids_is_plain_pooling(reduce, pool):
    value = random_map(SOURCE)
    target = BevGrid(0.0, 0.0, 8.0, 4.0, rows=2, columns=2)
    received = resample(value, SOURCE, target, reduce=reduce)
    torch.testing.assert_close(received, pool(value, (2, 4)))


def test_part_of_the_range_at_the_same_cells_is_a_crop():
    value = random_map(SOURCE)
    target = BevGrid(2.0, 1.0, 7.0, 3.0, rows=2, columns=5)
    torch.testing.assert_close(resample(value, SOURCE, target), value[:, :, 1:3, 2:7])


def test_smaller_cells_are_interpolated_between_centres():
    value = torch.tensor([[[[0.0, 4.0]]]])
    source = BevGrid(0.0, 0.0, 2.0, 1.0, rows=1, columns=2)
    target = BevGrid(0.0, 0.0, 2.0, 1.0, rows=1, columns=4)  # centres 0.25, 0.75, 1.25, 1.75
    assert resample(value, source, target).flatten().tolist() == [0.0, 1.0, 3.0, 4.0]


def test_broken_ratio_reads_evenly_spaced_points():
    """Cells of 1.6 m get two points each: at 0.4 and 1.2, then at 2.0 and 2.8."""
    x_m, _ = SOURCE.centers()
    target = BevGrid(0.0, 0.0, 8.0, 4.0, rows=4, columns=5)
    value = x_m.square().expand(1, 1, 4, 8)
    at = sample_at(value, SOURCE, torch.tensor([[[2.0, 0.5], [2.8, 0.5]]]))
    received = resample(value, SOURCE, target)
    assert received.shape == (1, 1, 4, 5)
    torch.testing.assert_close(received[0, 0, 0, 1], at.mean())


def test_same_grid_gives_the_map_itself():
    value = random_map(SOURCE)
    assert resample(value, SOURCE, BevGrid(0.0, 0.0, 8.0 + 1e-6, 4.0, 4, 8)) is value
    assert not same_grid(SOURCE, BevGrid(0.0, 0.0, 8.1, 4.0, 4, 8))
    assert not same_grid(SOURCE, BevGrid(0.0, 0.01, 8.0, 4.0, 4, 8))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_keeps_its_type_and_reads_in_float32(dtype):
    value = random_map(SOURCE).to(dtype)
    target = BevGrid(1.0, 1.0, 6.0, 4.0, rows=7, columns=3)
    received = resample(value, SOURCE, target)
    assert received.dtype == dtype
    torch.testing.assert_close(received, resample(value.float(), SOURCE, target).to(dtype))


def test_covered_cells_have_their_centre_in_the_range():
    target = BevGrid(-2.0, 1.0, 3.0, 5.0, rows=2, columns=5)  # x -1.5 ... 2.5, y 2, 4
    assert covered(SOURCE, target)[0, 0].tolist() == [[0, 0, 1, 1, 1], [0, 0, 0, 0, 0]]


def test_map_of_another_shape_is_refused():
    with pytest.raises(UserError, match=r"\(B, C, 4, 8\) on its grid, got \(2, 3, 8, 4\)"):
        resample(torch.zeros(2, 3, 8, 4), SOURCE, SOURCE)
