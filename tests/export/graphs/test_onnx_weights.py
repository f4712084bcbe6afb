import copy

import numpy as np
import onnx
import pytest
import torch
from onnxscript import optimizer
from torch import nn

from kd3d.checkpoints import load_weights
from kd3d.errors import UserError
from kd3d.export.detector import build_detector
from kd3d.export.graphs.graph_parts import load_onnx
from kd3d.export.graphs.onnx_model import onnx_from_model
from kd3d.export.graphs.onnx_weights import (
    Convolution,
    fixed_size,
    largest_difference,
    match_convolutions,
    weights_from_onnx,
)
from kd3d.export.graphs.tracing import traced
from kd3d.export.networks.deployable import deployable

IMAGES = torch.rand(1, 3, 64, 96, generator=torch.Generator().manual_seed(3))


@pytest.fixture
def folded(build):
    """YOLOX with trained-looking batch norm, and its ONNX file with batch norm folded."""
    shared, cfg = build("yolox")
    detector = copy.deepcopy(shared)
    torch.manual_seed(4)
    for module in detector.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias)
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 1.5)
    module = deployable(detector)
    model = traced(module, {"images": IMAGES}, output_names=module.output_names, opset=16)
    return detector, cfg, optimizer.optimize(model)


def test_detector_from_folded_file_computes_the_same(folded):
    original, cfg, model = folded
    assert not any(node.op_type == "BatchNormalization" for node in model.graph.node)
    assert fixed_size(model) == (64, 96)
    detector = build_detector(cfg)
    before = largest_difference(detector, model, IMAGES)
    load_weights(detector, weights_from_onnx(detector, model, IMAGES), where="m.onnx")
    assert largest_difference(detector, model, IMAGES) < 1e-4 < before
    with torch.no_grad():
        for expected, found in zip(
            deployable(original)(IMAGES), deployable(detector)(IMAGES), strict=True
        ):
            torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)


class OneConvolution(nn.Module):
    """1x1, of weight 1 and a bias."""

    def __init__(self, bias: float) -> None:
        super().__init__()
        self.layer = nn.Conv2d(1, 1, 1)
        nn.init.ones_(self.layer.weight)
        nn.init.constant_(self.layer.bias, bias)

    def extract_feat(self, images):
        return [self.layer(images)]

    def bbox_head(self, levels):
        return [levels]


@pytest.mark.parametrize(("bias", "share"), [(1.0, 1 / 4), (0.0, 0.0), (np.inf, np.inf)])
def test_a_difference_is_a_share_of_the_largest_absolute_value(bias, share):
    """Of 4 and -4, which are 8 apart."""
    helper, shape = onnx.helper, [1, 1, 1, 2]
    ends = [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape) for name in "xy"]
    weight = onnx.numpy_helper.from_array(np.ones((1, 1, 1, 1), np.float32), "w")
    node = helper.make_node("Conv", ["x", "w"], ["y"])
    graph = helper.make_graph([node], "one", ends[:1], ends[1:], [weight])
    opset = helper.make_opsetid("", 17)
    model = helper.make_model(graph, opset_imports=[opset], ir_version=8)
    images = torch.tensor([4.0, -4.0]).reshape(shape)
    assert largest_difference(OneConvolution(bias), model, images) == pytest.approx(share)


def test_file_of_another_network_is_refused(folded, build):
    with pytest.raises(UserError, match="convolutions, the ONNX file"):
        weights_from_onnx(build("rtmdet")[0], folded[2], IMAGES)


def chain(*shapes):
    return [
        Convolution(f"c{index}", shape, {index - 1} if index else set())
        for index, shape in enumerate(shapes)
    ]


def test_equal_shapes_are_told_apart_by_their_surroundings():
    # stem -> two equal branches, of which one is longer -> join; listed in two orders
    def network(order):
        spec = {
            "stem": ((1,), []),
            "long": ((2,), ["stem"]),
            "longer": ((2,), ["long"]),
            "short": ((2,), ["stem"]),
            "join": ((3,), ["longer", "short"]),
        }
        index = {name: order.index(name) for name in order}
        return [
            Convolution(name, spec[name][0], {index[source] for source in spec[name][1]})
            for name in order
        ]

    ours = network(["stem", "short", "long", "longer", "join"])
    theirs = network(["stem", "long", "longer", "short", "join"])
    for mine, other in match_convolutions(ours, theirs).items():
        assert ours[mine].name == theirs[other].name


def test_twins_are_ambiguous():
    twins = [Convolution("stem", (1,)), *[Convolution(n, (2,), {0}) for n in "ab"]]
    with pytest.raises(UserError, match=r"'a' \(2,\) and 1 more have the same surroundings"):
        match_convolutions(twins, twins)


def test_other_shape_is_named():
    with pytest.raises(UserError, match=r"place of 'c0' \(1,\)"):
        match_convolutions(chain((1,), (2,)), chain((1,), (3,)))


def test_our_own_file_is_told_from_others(build, tmp_path):
    module = deployable(build("yolox")[0])
    names = module.output_names
    path = onnx_from_model(module, {"images": IMAGES}, tmp_path / "m.onnx", output_names=names)
    with pytest.raises(UserError, match=r"several convolutions: kd3d exported .* weights\.pth"):
        weights_from_onnx(build("yolox")[0], load_onnx(path), IMAGES)
