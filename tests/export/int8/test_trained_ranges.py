import numpy as np
import onnx
import pytest
import torch
from torch import nn

from kd3d.backends.ort import OnnxRuntimeBackend
from kd3d.distill.quantized_layers import QuantizedLayers
from kd3d.errors import UserError
from kd3d.export.graphs.onnx_model import onnx_from_model
from kd3d.export.int8.quantize import int8_from_onnx
from kd3d.export.int8.trained_ranges import trained_ranges


class Student(nn.Module):
    """Each kind of layer with weights; the head runs twice, one batch norm turns a channel off."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(4)
        self.grouped = nn.Conv2d(4, 4, 3, padding=1, groups=4)
        self.up = nn.ConvTranspose2d(4, 6, 2, stride=2, bias=False)
        self.up_norm = nn.BatchNorm2d(6)
        self.head = nn.Conv2d(6, 6, 1)
        self.linear = nn.Linear(6, 3)

    def forward(self, images):
        features = self.grouped(self.norm(self.conv(images)).relu())
        features = self.up_norm(self.up(features)).relu()
        return self.linear(self.head(self.head(features)).mean((2, 3)))


@pytest.fixture
def student():
    torch.manual_seed(0)
    student = Student()
    with torch.no_grad():
        for norm in (student.norm, student.up_norm):
            norm.weight.copy_(torch.randn(norm.num_features))  # some are negative
            norm.running_var.uniform_(0.5, 2)
        student.norm.weight[1] = 0
    return student.eval()


@pytest.fixture
def images():
    return torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def file(student, images, tmp_path):
    path = tmp_path / "model.onnx"
    return onnx_from_model(student, {"images": images}, path, output_names=["scores"])


def trained(student, images, keep_float=()):
    """A checkpoint after one quantisation-aware forward, and what the student gives as INT8."""
    layers = QuantizedLayers(student, keep_float, percentile=100)
    layers.attach()
    with torch.no_grad():
        for norm in (student.norm, student.up_norm):
            norm.train(False)
        student.training = True  # limits follow, batch norm stands still
        student(images)
        student.training = False
        scores = student(images)
    limits = layers.limits
    layers.detach()
    checkpoint = {
        "state_dict": student.state_dict(),
        "quantization": {"keep_float": list(keep_float), "limits": limits},
    }
    return checkpoint, scores


def test_every_node_with_weights_gets_the_limit_of_its_layer(student, images, file):
    checkpoint, _ = trained(student, images)
    found = trained_ranges(checkpoint, file)
    assert found["keep_float"] == ()
    graph = onnx.load(file).graph
    weighted = [n for n in graph.node if n.op_type in ("Conv", "ConvTranspose", "Gemm", "MatMul")]
    assert set(found["ranges"]) == {node.name for node in weighted}
    limits = checkpoint["quantization"]["limits"]
    order = ["conv", "grouped", "up", "head", "head", "linear"]  # as they run
    calls = [0, 0, 0, 0, 1, 0]
    for node, name, call in zip(weighted, order, calls, strict=True):
        assert found["ranges"][node.name] == pytest.approx(float(limits[name][call])), node.name


@pytest.mark.parametrize("keep_float", [(), ("grouped", "linear")])
def test_the_file_computes_what_was_trained(student, images, file, tmp_path, keep_float):
    checkpoint, scores = trained(student, images, keep_float)
    target = tmp_path / "model-int8.onnx"
    feeds = [{"images": 3 * images.numpy()}] * 16  # their ranges would be others
    int8_from_onnx(file, target, feeds, **trained_ranges(checkpoint, file))
    with OnnxRuntimeBackend(target, threads=1) as backend:
        output = backend.infer({"images": images.numpy()})["scores"]
    with torch.no_grad():
        plain = student(images)
    assert np.abs(output - scores.numpy()).max() < 0.1 * np.abs(plain - scores).max()
    np.testing.assert_allclose(output, scores.numpy(), atol=1e-3 * float(scores.abs().max()))


def test_what_was_trained_in_float_is_named(student, images, file):
    checkpoint, _ = trained(student, images, keep_float=["grouped", "linear"])
    found = trained_ranges(checkpoint, file)
    kinds = {node.name: node.op_type for node in onnx.load(file).graph.node}
    assert sorted(kinds[name] for name in found["keep_float"]) == ["Conv", "Gemm"]
    assert len(found["ranges"]) == 4


def test_a_checkpoint_without_such_training_has_nothing_to_say(student, file):
    assert trained_ranges({"state_dict": student.state_dict()}, file) == {}


def test_weights_of_another_checkpoint_are_refused(student, images, file):
    checkpoint, _ = trained(student, images)
    torch.manual_seed(7)
    checkpoint["state_dict"] = Student().state_dict()
    with pytest.raises(UserError, match="no node has the weights of conv, grouped, up, which were"):
        trained_ranges(checkpoint, file)


class Branches(nn.Module):
    """Two small layers on one tensor, which the export makes one."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
        self.boxes = nn.Conv2d(4, 4, 1)
        self.scores = nn.Conv2d(4, 2, 1)

    def forward(self, images):
        features = self.conv(images).relu()
        return torch.cat([self.scores(features).sigmoid(), self.boxes(features)], 1)


@pytest.mark.parametrize(("keep_float", "quantised"), [([], 2), (["boxes"], 1)])
def test_siblings_that_became_one_are_int8_if_all_were_trained_so(
    images, tmp_path, keep_float, quantised
):
    torch.manual_seed(0)
    student = Branches().eval()
    layers = QuantizedLayers(student, keep_float, percentile=100)
    layers.attach()
    with torch.no_grad():
        student.training = True
        student(images)
        student.training = False
    checkpoint = {
        "quantization": {"keep_float": keep_float, "limits": layers.limits},
        "state_dict": student.state_dict(),
    }
    layers.detach()
    path = tmp_path / "model.onnx"
    onnx_from_model(student, {"images": images}, path, output_names=["y"])
    kinds = [node.op_type for node in onnx.load(path).graph.node]
    assert kinds.count("Conv") == 2
    found = trained_ranges(checkpoint, path)
    assert (len(found["ranges"]), len(found["keep_float"])) == (quantised, 2 - quantised)
