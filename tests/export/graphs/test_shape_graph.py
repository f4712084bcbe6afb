"""A graph for its shapes alone is the real export's graph, but for the weights."""

import io

import onnx
import pytest
import torch
from torch import nn

from kd3d.export.graphs.shape_graph import KEPT_ELEMENTS, shape_graph, uninitialised
from kd3d.export.networks.deployable import deployable
from kd3d.export.preprocessing import input_size


class Branches(nn.Module):
    """Two branches of equal layers on one input, upsampled, beside a shortcut."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, 32, 3, 2, 1, bias=False), nn.BatchNorm2d(32), nn.ReLU()
        )
        self.sides = nn.ModuleList(nn.Conv2d(32, 32, 3, padding=2, dilation=2) for _ in range(2))
        self.grow = nn.ConvTranspose2d(32, 64, 3, 2, 1, 1)
        self.linear = nn.Linear(64, 5)

    def forward(self, x):
        x = self.stem(x)
        x = self.grow(torch.cat([side(x) for side in self.sides])[:1])
        return x, self.linear(x.mean((2, 3)))


def shapes(model):
    values = (*model.graph.value_info, *model.graph.output)
    return {v.name: [d.dim_value for d in v.type.tensor_type.shape.dim] for v in values}


def test_shapes_are_those_that_torch_computes():
    module = Branches().eval()
    model = shape_graph(module, {"images": torch.zeros(1, 3, 30, 40)}, output_names=["map", "row"])
    outputs = module(torch.zeros(1, 3, 30, 40))
    found = shapes(model)
    assert found["map"] == list(outputs[0].shape) == [1, 64, 30, 40]
    assert found["row"] == list(outputs[1].shape) == [1, 5]
    assert all(found[name] for node in model.graph.node for name in node.output)


def test_operators_are_those_of_a_real_export():
    module = Branches().eval()
    example = torch.zeros(1, 3, 30, 40)
    file = io.BytesIO()
    torch.onnx.export(module, (example,), file, dynamo=False, opset_version=17)
    expected = [n.op_type for n in onnx.load_from_string(file.getvalue()).graph.node]
    found = [n.op_type for n in shape_graph(module, {"x": example}).graph.node]
    for operator in ("Conv", "ConvTranspose", "Relu", "Gemm", "BatchNormalization"):
        assert found.count(operator) == expected.count(operator)
    assert found.count("Conv") == 3


def test_attributes_are_those_of_a_real_export():
    model = shape_graph(Branches().eval(), {"x": torch.zeros(1, 3, 30, 40)})
    dilated = [n for n in model.graph.node if n.op_type == "Conv"][1]
    given = {a.name: onnx.helper.get_attribute_value(a) for a in dilated.attribute}
    assert given["dilations"] == [2, 2]
    assert given["pads"] == [2, 2, 2, 2]
    assert given["group"] == 1


def test_large_weights_lose_their_values_and_keep_their_shapes():
    model = shape_graph(Branches().eval(), {"x": torch.zeros(1, 3, 30, 40)})
    sizes = {tuple(t.dims): len(t.raw_data) for t in model.graph.initializer}
    assert sizes[32, 32, 3, 3] == 0
    assert sizes[(32,)] == 4 * 32  # below KEPT_ELEMENTS
    assert len(model.SerializeToString()) < 4 * 32 * 32 * 9
    assert KEPT_ELEMENTS == 1024


def test_no_convolution_is_computed(monkeypatch):
    def refuse(*_args):
        raise AssertionError("a convolution was computed")

    module = Branches().eval()
    monkeypatch.setattr(nn.Conv2d, "forward", refuse)
    shape_graph(module, {"x": torch.zeros(1, 3, 30, 40)})
    assert "forward" not in vars(module.grow)  # as it was before
    with pytest.raises(AssertionError, match="computed"):
        module(torch.zeros(1, 3, 30, 40))


def test_uninitialised_weights_all_differ():
    module = uninitialised(Branches)
    values = [parameter.flatten()[0].item() for parameter in module.parameters()]
    assert len(values) == 11
    assert len(set(values)) == 11
    graph = shape_graph(module.eval(), {"x": torch.zeros(1, 3, 30, 40)}).graph
    assert [n.op_type for n in graph.node].count("Conv") == 3  # none is taken for its equal


def test_what_stands_for_one_node_is_one(build):
    """RoIAlign has a forward of many operators, which no file holds."""
    detector, cfg = build("faster_rcnn")
    network = deployable(detector)
    example = {"images": torch.zeros(1, 3, *input_size(cfg))}
    graph = shape_graph(network, example, output_names=network.output_names).graph
    operators = [node.op_type for node in graph.node]
    levels = len(cfg.model.roi_head.bbox_roi_extractor.featmap_strides)
    assert operators.count("RoiAlign") == levels
    assert [value.name for value in graph.output] == ["boxes", "scores"]
