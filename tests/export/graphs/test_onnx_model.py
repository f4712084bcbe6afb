import numpy as np
import onnx
import pytest
import torch
from torch import nn

from kd3d.backends.ort import OnnxRuntimeBackend
from kd3d.errors import UserError
from kd3d.export.graphs.onnx_model import onnx_from_model
from kd3d.export.graphs.operators import check_operators
from kd3d.export.networks.deployable import deployable


def run(path, images):
    with OnnxRuntimeBackend(path, threads=1) as backend:
        return backend.infer({"images": images.numpy()})


@pytest.mark.parametrize(("dynamic", "batches"), [(True, (1, 3)), (False, (2,))])
def test_every_family_equals_pytorch(family, build, tmp_path, dynamic, batches):
    module = deployable(build(family)[0])
    free = ("images", *module.output_names) if dynamic and not module.fixed_batch else ()
    path = onnx_from_model(
        module,
        {"images": torch.zeros(2, 3, 64, 96)},
        tmp_path / "model.onnx",
        output_names=module.output_names,
        dynamic_axes={name: {0: "batch"} for name in free},
    )
    model = onnx.load(path)
    assert check_operators(path) == []
    assert not {node.op_type for node in model.graph.node} & {"Identity", "BatchNormalization"}
    assert model.opset_import[0].version == 17
    for batch in (2,) if module.fixed_batch else batches:
        images = torch.randn(batch, 3, 64, 96, generator=torch.Generator().manual_seed(2))
        with torch.no_grad():
            expected = dict(zip(module.output_names, module(images), strict=True))
        for name, array in run(path, images).items():
            np.testing.assert_allclose(array, expected[name].numpy(), rtol=1e-3, atol=1e-4)
    assert [p.name for p in tmp_path.iterdir()] == ["model.onnx"]


@pytest.mark.parametrize("opset", [13, 17])
def test_opsets(build, tmp_path, opset):
    module, example = deployable(build("retinanet")[0]), {"images": torch.zeros(1, 3, 64, 96)}
    path = onnx_from_model(
        module, example, tmp_path / "m.onnx", output_names=["a", "b"], opset=opset
    )
    assert onnx.load(path).opset_import[0].version == opset


def test_two_stage_detectors_need_the_roi_align_of_opset_16(build, tmp_path):
    module, example = deployable(build("faster_rcnn")[0]), {"images": torch.zeros(1, 3, 64, 96)}
    names = module.output_names
    with pytest.raises(UserError, match="opset 13: a two-stage detector needs 16 or 17"):
        onnx_from_model(module, example, tmp_path / "m.onnx", opset=13, output_names=names)
    assert not list(tmp_path.iterdir())


class Unsupported(nn.Module):
    def forward(self, x):
        return torch.det(x)


def test_unsupported_operator_leaves_nothing(tmp_path):
    with pytest.raises(
        UserError, match=r"Det: no such operator \(TensorRT 8\.5, 8\.6, 10\.3, 11\)"
    ):
        onnx_from_model(
            Unsupported(), {"x": torch.ones(2, 3, 3)}, tmp_path / "m.onnx", output_names=["y"]
        )
    assert list(tmp_path.iterdir()) == []


def test_other_opset_is_a_user_error(tmp_path):
    with pytest.raises(UserError, match="expected 13 to 17"):
        onnx_from_model(
            nn.ReLU(), {"x": torch.ones(1, 3)}, tmp_path / "m.onnx", output_names=["y"], opset=18
        )


def test_training_mode_is_kept(tmp_path):
    module = nn.Sequential(nn.Dropout(0.5), nn.ReLU()).train()
    example = {"images": torch.ones(2, 3)}
    path = onnx_from_model(module, example, tmp_path / "m.onnx", output_names=["y"])
    assert module.training
    np.testing.assert_array_equal(run(path, example["images"])["y"], np.ones((2, 3)))
