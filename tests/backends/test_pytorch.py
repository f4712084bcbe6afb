import numpy as np
import torch
from torch import nn

from kd3d.backends.base import TensorSpec
from kd3d.backends.pytorch import PytorchBackend


class SumAndDropout(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.dropout = nn.Dropout(0.5)

    def forward(self, first, second):
        return self.dropout(first + second), first * second


def test_outputs_by_name_in_eval_mode_and_mode_restored():
    module = SumAndDropout().train()
    specs = [TensorSpec(name, (2,), "float32") for name in ("first", "second")]
    feeds = {"second": np.float32([3, 4]), "first": np.float32([1, 2])}
    with PytorchBackend(module, specs, ["sum", "product"]) as backend:
        outputs = backend.infer(feeds)
    np.testing.assert_array_equal(outputs["sum"], [4, 6])  # dropout would zero or double
    np.testing.assert_array_equal(outputs["product"], [3, 8])
    assert module.training


def test_single_tensor_output():
    with PytorchBackend(nn.ReLU(), [TensorSpec("x", (None,), "float32")], ["y"]) as backend:
        outputs = backend.infer({"x": torch.tensor([-1.0, 2.0]).numpy()})
    np.testing.assert_array_equal(outputs["y"], [0, 2])
