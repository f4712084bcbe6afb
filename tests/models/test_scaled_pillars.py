import copy

import pytest
import torch
from mmdet3d.models.voxel_encoders import PillarFeatureNet

from kd3d.errors import UserError
from kd3d.models.scaled_pillars import ScaledPillarFeatureNet

SETTINGS = {
    "in_channels": 4,
    "feat_channels": [8],
    "voxel_size": (0.5, 0.5, 4),
    "point_cloud_range": (-4, -4, -2, 4, 4, 2),
    "legacy": False,
}
# x y z intensity, offset to the mean (3), offset to the centre (3)
SCALE = [0.1, 0.2, 0.5, 0.01, 5.0, 4.0, 3.0, 2.0, 7.0, 0.25]


def pillars():
    generator = torch.Generator().manual_seed(0)
    return (
        torch.rand(6, 5, 4, generator=generator),
        torch.tensor([5, 1, 3, 2, 4, 5]),
        torch.tensor([[0, 0, row, row + 1] for row in range(6)]),
    )


def test_equals_the_plain_encoder_with_scaled_weights():
    scaled = ScaledPillarFeatureNet(feature_scale=SCALE, **SETTINGS).eval()
    plain = PillarFeatureNet(**SETTINGS).eval()
    plain.load_state_dict(scaled.state_dict())  # the same keys
    with torch.no_grad():
        plain.pfn_layers[0].linear.weight.mul_(torch.tensor(SCALE))
    torch.testing.assert_close(scaled(*pillars()), plain(*pillars()))


@pytest.mark.parametrize(
    "options", [{}, {"feat_channels": [6, 8]}, {"mode": "avg"}, {"norm_cfg": {"type": "BN1d"}}]
)
def test_trains_as_the_plain_encoder(options):
    scaled = ScaledPillarFeatureNet(feature_scale=[1.0] * 10, **{**SETTINGS, **options})
    plain = PillarFeatureNet(**{**SETTINGS, **options})
    plain.load_state_dict(scaled.state_dict())
    results = {}
    for encoder in (scaled, plain):
        points, *rest = pillars()
        used = torch.arange(5) < rest[0].unsqueeze(1)
        features = encoder(points * used.unsqueeze(-1), *rest)
        features.square().sum().backward()
        gradients = {name: weight.grad for name, weight in encoder.named_parameters()}
        results[encoder] = (features, gradients, dict(encoder.named_buffers()))
    (found, gradients, buffers), (features, expected, statistics) = results.values()
    torch.testing.assert_close(found, features)
    torch.testing.assert_close(gradients, expected, rtol=1e-4, atol=1e-4)
    for name, buffer in statistics.items():
        torch.testing.assert_close(buffers[name], buffer)


def test_a_copy_scales_once_too():
    scaled = ScaledPillarFeatureNet(feature_scale=SCALE, **SETTINGS).eval()
    assert torch.equal(copy.deepcopy(scaled)(*pillars()), scaled(*pillars()))


def test_a_factor_for_each_input():
    with pytest.raises(UserError, match=r"expected 10 factors .* got 3"):
        ScaledPillarFeatureNet(feature_scale=[1, 2, 3], **SETTINGS)
