import copy

import pytest
import torch
from mmdet.models.layers import SinePositionalEncoding

from kd3d.errors import UserError
from kd3d.export.networks.deployable import deployable
from kd3d.export.networks.transformer_network import sine_positions


@pytest.mark.parametrize("normalize", [False, True])
def test_positions_equal_mmdets(normalize):
    module = SinePositionalEncoding(6, normalize=normalize, offset=0.25 if normalize else 0.0)
    mask = torch.ones(1, 5, 7)
    mask[:, :4, :6] = 0
    expected = module(mask)[0].permute(1, 2, 0)[:4, :6]
    found = torch.from_numpy(sine_positions(module, (5, 7), [4, 6])).reshape(5, 7, 12)[:4, :6]
    torch.testing.assert_close(found, expected)


def test_padding_is_not_seen(build):
    detector, _ = build("detr")
    images = torch.randn(1, 3, 64, 96, generator=torch.Generator().manual_seed(4))
    # stride 16 makes 4 x 6 cells, of which an image of 32 x 96 fills two rows
    masked, whole = deployable(detector, image_size=(32, 96)), deployable(detector)
    position, mask = masked._network._constants(torch.zeros(1, 16, 4, 6), images, (32, 96))
    assert mask.reshape(4, 6)[:, 0].tolist() == [0, 0, -1e4, -1e4]
    assert position.shape == (1, 24, 16)
    assert whole._network._constants(torch.zeros(1, 16, 4, 6), images, (64, 96))[1] is None
    with torch.no_grad():
        assert (masked(images)[1] - whole(images)[1]).abs().max() > 1e-3


def test_boxes_span_the_image_not_the_input(build):
    detector = copy.deepcopy(build("detr")[0])
    images = torch.zeros(1, 3, 64, 96)
    with torch.no_grad():
        detector.bbox_head.fc_reg.weight.zero_()
        detector.bbox_head.fc_reg.bias.zero_()  # centre and size 1/2 each
        boxes = deployable(detector, image_size=(32, 80))(images)[0]
    assert boxes[0, 0].tolist() == [20, 8, 60, 24]


def test_another_head_is_a_user_error(build):
    detector = copy.deepcopy(build("detr")[0])
    detector.bbox_head = torch.nn.Identity()
    with pytest.raises(UserError, match="Identity; expected DETRHead"):
        deployable(detector)
