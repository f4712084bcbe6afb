import numpy as np
import pytest
import torch
from mmdet3d.models.middle_encoders import PointPillarsScatter
from mmdet3d.models.voxel_encoders import (
    DynamicPillarFeatureNet,
    HardSimpleVFE,
    HardVFE,
    PillarFeatureNet,
)
from toys_pillars import frames

from kd3d.errors import UserError
from kd3d.export.networks.pillar_features import bev_map, check_encoder, pillar_features
from kd3d.export.voxelization import Voxelization, network_feeds
from kd3d.models.scaled_pillars import ScaledPillarFeatureNet

EXTENT = (-6.4, -6.4, -2.0, 6.4, 6.4, 2.0)
GRID = {"voxel_size": (0.4, 0.4, 4.0), "point_cloud_range": EXTENT}


def inputs():
    feeds = network_feeds(frames(2), Voxelization(GRID["voxel_size"], EXTENT, 5, 1000))
    return tuple(torch.from_numpy(array) for array in feeds.values())


def trained(encoder):
    torch.manual_seed(0)
    for name, buffer in encoder.named_buffers():
        if name.endswith("running_mean"):
            buffer.normal_()
        if name.endswith("running_var"):
            buffer.uniform_(0.5, 2)
    return encoder.eval()


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        (PillarFeatureNet, {"legacy": False}),
        (PillarFeatureNet, {"legacy": True, "with_distance": True}),
        (PillarFeatureNet, {"feat_channels": (8, 6), "mode": "avg"}),
        (PillarFeatureNet, {"with_cluster_center": False, "with_voxel_center": False}),
        (ScaledPillarFeatureNet, {"feature_scale": np.linspace(0.1, 3, 11).tolist()}),
        (HardVFE, {"feat_channels": [6, 6], "with_cluster_center": True}),
        (HardVFE, {"feat_channels": [6], "with_voxel_center": True, "with_distance": True}),
    ],
)
def test_equals_mmdet3d(kind, options):
    encoder = trained(kind(in_channels=5, **{"feat_channels": (6,), **options}, **GRID))
    check_encoder(encoder)
    pillars, num_points, coordinates = inputs()
    with torch.no_grad():
        found = pillar_features(encoder, pillars, num_points, coordinates)
        expected = encoder(pillars.clone(), num_points, coordinates)  # it may write into them
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_pillar_without_points_is_finite():
    encoder = trained(PillarFeatureNet(in_channels=5, feat_channels=(6,), **GRID))
    none = torch.zeros(1, 5, 5), torch.zeros(1, dtype=torch.int32), torch.full((1, 4), -1).int()
    assert pillar_features(encoder, *none).isfinite().all()


def test_map_equals_mmdet3d():
    _, _, coordinates = inputs()
    features = torch.randn(len(coordinates), 3, generator=torch.Generator().manual_seed(0))
    found = bev_map(features, coordinates, batch=2, rows=32, columns=32)
    expected = PointPillarsScatter(3, [32, 32])(features, coordinates, 2)
    assert torch.equal(found, expected)


def test_map_by_hand():
    """Of 2 rows and 3 columns; what has no cell in it is left out."""
    cells = [[0, 0, 1, 2], [1, 0, 0, 0]]
    outside = [[0, 0, 2, 0], [0, 0, 0, 3], [2, 0, 0, 0], [0, -1, 0, 1], [0, 0, -1, 1], [-1] * 4]
    coordinates = torch.tensor(cells + outside).int()
    features = torch.arange(1.0, 9.0).unsqueeze(1)
    found = bev_map(features, coordinates, batch=2, rows=2, columns=3)
    assert found[:, 0].tolist() == [[[0, 0, 0], [0, 0, 1]], [[2, 0, 0], [0, 0, 0]]]


@pytest.mark.parametrize("kind", [HardSimpleVFE, DynamicPillarFeatureNet])
def test_other_encoders_are_refused(kind):
    with pytest.raises(UserError, match=f"{kind.__name__}; supported are PillarFeatureNet, "):
        check_encoder(kind())


def test_other_norms_are_refused():
    encoder = PillarFeatureNet(5, (8,), norm_cfg={"type": "GN", "num_groups": 2}, **GRID)
    with pytest.raises(UserError, match="with batch norm"):
        check_encoder(encoder)


def test_dtype_of_the_inputs_may_be_int64():
    encoder = trained(PillarFeatureNet(in_channels=5, feat_channels=(6,), **GRID))
    pillars, num_points, coordinates = inputs()
    with torch.no_grad():
        found = pillar_features(encoder, pillars, num_points.long(), coordinates.long())
        expected = pillar_features(encoder, pillars, num_points, coordinates)
    np.testing.assert_array_equal(found, expected)
