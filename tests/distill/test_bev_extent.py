"""Which part of the world a model's maps cover, against the grid that mmdet3d itself makes."""

import pytest
import torch
import toys3d

from kd3d.distill.bev_extent import grid_of, map_extent, point_cloud_range
from kd3d.heads import prediction_of

EXTENT = [-6.4, -6.4, -3.0, 6.4, 6.4, 2.0]


def test_voxels_that_divide_the_range_leave_it_as_it_is():
    model = toys3d.built(toys3d.centerpoint(extent=EXTENT))
    assert map_extent(model) == point_cloud_range(model) == tuple(EXTENT)


@pytest.mark.parametrize(("pillar_m", "cells"), [(0.39, 33), (0.41, 31)])
def test_where_they_do_not_the_map_ends_with_the_last_voxel(pillar_m, cells):
    model = toys3d.built(toys3d.centerpoint(pillar_m=pillar_m, extent=EXTENT))
    assert list(model.data_preprocessor.voxel_layer.grid_shape)[:2] == [cells, cells]
    edge = -6.4 + cells * pillar_m
    assert map_extent(model)[3:5] == pytest.approx((edge, edge))
    assert map_extent(model)[:3] == tuple(EXTENT[:3])


def test_a_head_whose_voxels_are_rounded_is_read():
    """33.75 voxels along a side become 34, and 17 in a map of half as many."""
    model = toys3d.built(toys3d.centerpoint(extent=[-6.4, -6.4, -3.0, 7.1, 7.1, 2.0]))
    outputs = model.pts_bbox_head([torch.zeros(1, 8, 17, 17)])
    grid = grid_of(outputs, map_extent(model))
    assert grid.x_max_m == pytest.approx(7.2)
    assert prediction_of(model.pts_bbox_head, outputs, grid=grid).grid.x_max_m == pytest.approx(7.2)
