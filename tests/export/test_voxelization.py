from dataclasses import replace

import numpy as np
import pytest
import torch
from mmdet3d.models.data_preprocessors.voxelize import VoxelizationByGridShape

from kd3d.export.voxelization import Voxelization, network_feeds, voxelize

RANGE = (-4.0, -2.0, -5.0, 4.0, 2.0, 3.0)
SETTINGS = Voxelization((0.5, 0.5, 8.0), RANGE, max_num_points=3, max_pillars=6)


def theirs(points, settings):
    """What mmdet3d makes of the points: pillars, num_points, cells."""
    layer = VoxelizationByGridShape(
        point_cloud_range=list(settings.range_m),
        max_num_points=settings.max_num_points,
        voxel_size=list(settings.voxel_size_m),
        max_voxels=(1, settings.max_pillars),
    ).eval()
    pillars, cells, counts = layer(torch.from_numpy(points))
    return pillars.numpy(), counts.numpy(), cells.numpy()


def assert_equal(points, settings):
    found = voxelize(points, settings)
    for mine, expected in zip(found, theirs(points, settings), strict=True):
        assert mine.dtype == expected.dtype
        np.testing.assert_array_equal(mine, expected)
    return found


def test_by_hand():
    points = np.array(
        [
            [0.1, 0.1, 0.0, 7.0],  # cell x 8, y 4
            [-4.0, -2.0, -5.0, 1.0],  # the lower corner belongs to cell 0, 0
            [0.2, 0.3, 1.0, 8.0],
            [4.0, 0.0, 0.0, 2.0],  # the upper edge is outside
            [0.3, 0.3, 3.0, 2.0],  # as it is along z
            [0.4, 0.4, 2.0, 9.0],
            [0.4, 0.1, 2.0, 5.0],  # the fourth of its pillar
        ],
        dtype=np.float32,
    )
    assert SETTINGS.grid == (16, 8, 1)
    pillars, counts, cells = assert_equal(points, SETTINGS)
    np.testing.assert_array_equal(counts, [3, 1])
    np.testing.assert_array_equal(cells, [[0, 4, 8], [0, 0, 0]])
    np.testing.assert_array_equal(pillars[0], points[[0, 2, 5]])
    np.testing.assert_array_equal(pillars[1], [points[1], [0] * 4, [0] * 4])


@pytest.mark.parametrize("max_pillars", [6, 1000])
@pytest.mark.parametrize("size", [0.5, 0.16, 0.3])
def test_equals_mmdet3d_on_random_clouds(size, max_pillars):
    generator = np.random.default_rng(3)
    settings = Voxelization((size, size, 8.0), RANGE, 3, max_pillars)
    points = generator.uniform(-5, 5, (4000, 5)).astype(np.float32)
    points[::7, :2] = np.round(points[::7, :2] / size) * size  # on the edges of cells
    points[::11, 0] = np.nextafter(np.float32(4), np.float32([0, 8]))[generator.integers(0, 2)]
    points[5] = np.nan
    points[6] = np.inf
    assert len(assert_equal(points, settings)[0]) == min(
        max_pillars, len(theirs(points, settings)[0])
    )


def test_several_layers_along_z_and_more_pillars_than_two_bytes_count():
    generator = np.random.default_rng(4)
    points = generator.uniform(-1, 1, (150_000, 3)).astype(np.float32)
    settings = Voxelization((0.02, 0.02, 0.1), (-1, -1, -1, 1, 1, 1), 2, 100_000)
    assert len(assert_equal(points, settings)[0]) > 65536


def test_as_many_points_as_a_real_cloud_in_few_cells():
    """Most points lie near the car: long pillars, whose first points are kept."""
    points = np.random.default_rng(5).normal(0, 0.4, (20_000, 4)).astype(np.float32)
    assert_equal(points, SETTINGS)


def test_frames_follow_one_another_and_an_empty_one_leaves_none():
    near = np.array([[0.1, 0.1, 0.0, 1.0], [1.1, 0.1, 0.0, 2.0]], dtype=np.float32)
    far = np.full((3, 4), 100, dtype=np.float32)
    feeds = network_feeds([near, far, near[:1]], SETTINGS)
    np.testing.assert_array_equal(feeds["coordinates"], [[0, 0, 4, 8], [0, 0, 4, 10], [2, 0, 4, 8]])
    assert {name: str(array.dtype) for name, array in feeds.items()} == {
        "pillars": "float32",
        "num_points": "int32",
        "coordinates": "int32",
    }


def test_filled_up_to_a_fixed_number_at_the_end():
    near = np.array([[0.1, 0.1, 0.0, 1.0], [1.1, 0.1, 0.0, 2.0]], dtype=np.float32)
    feeds = network_feeds([near, near[:1]], replace(SETTINGS, max_pillars=2, filled=True))
    expected = [[0, 0, 4, 8], [0, 0, 4, 10], [1, 0, 4, 8], [-1, -1, -1, -1]]
    np.testing.assert_array_equal(feeds["coordinates"], expected)
    assert feeds["num_points"].tolist() == [1, 1, 1, 0]
    assert not feeds["pillars"][3].any()
    assert str(feeds["pillars"].dtype) == "float32"


def test_no_point_at_all_is_one_padding_pillar():
    feeds = network_feeds([np.zeros((0, 4), dtype=np.float32)], SETTINGS)
    assert feeds["pillars"].shape == (1, 3, 4)
    assert feeds["num_points"].tolist() == [0]
    assert feeds["coordinates"].tolist() == [[-1] * 4]
