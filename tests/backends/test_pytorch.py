from types import SimpleNamespace

import numpy as np
import pytest
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


class Watcher(nn.Module):
    """Notes what TF32 is while it runs, and every place it is moved to."""

    def __init__(self, read) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.read, self.seen, self.places = read, [], []

    def forward(self, x):
        self.seen = self.read()
        return x

    def to(self, device):
        self.places.append(str(device))
        return self


def backend_of(module, device="cpu", **how):
    return PytorchBackend(module, [TensorSpec("x", (1,), "float32")], ["y"], device=device, **how)


@pytest.fixture
def owners():
    """Of the switches of convolutions and products, with TF32."""
    if not hasattr(torch.backends.cudnn, "conv"):
        pytest.skip("before PyTorch 2.9")
    found = torch.backends.cudnn.conv, torch.backends.cuda.matmul
    before = [owner.fp32_precision for owner in found]
    for owner in found:
        owner.fp32_precision = "tf32"
    yield found
    for owner, value in zip(found, before, strict=True):
        owner.fp32_precision = value


def test_float32_is_whole_while_it_runs_and_tf32_as_before_after_it(owners):
    module = Watcher(lambda: [owner.fp32_precision for owner in owners])
    with backend_of(module) as backend:
        backend.infer({"x": np.float32([1])})
    assert module.seen == ["ieee", "ieee"]
    assert module.read() == ["tf32", "tf32"]


@pytest.mark.parametrize("users", ["tf32", "ieee"])
def test_a_latency_is_that_of_the_users_setting(owners, users):
    for owner in owners:
        owner.fp32_precision = users
    module = Watcher(lambda: [owner.fp32_precision for owner in owners])
    with backend_of(module, exact=False) as backend:
        backend.infer({"x": np.float32([1])})
    assert module.seen == module.read() == [users, users]


def test_the_same_before_pytorch_2_9_and_after_an_error(monkeypatch):
    owners = [SimpleNamespace(allow_tf32=True), SimpleNamespace(allow_tf32=True)]
    monkeypatch.setattr(torch.backends, "cudnn", owners[0])
    monkeypatch.setattr(torch.backends.cuda, "matmul", owners[1])
    module = Watcher(lambda: [owner.allow_tf32 for owner in owners])

    def fail(x):
        module.seen = module.read()
        raise RuntimeError("broken")

    module.forward = fail
    with backend_of(module) as backend, pytest.raises(RuntimeError, match="broken"):
        backend.infer({"x": np.float32([1])})
    assert module.seen == [False, False]
    assert module.read() == [True, True]


def test_the_module_returns_to_where_it_was():
    """The gate traces it on the CPU after it has answered on a GPU."""
    module = Watcher(list)
    with backend_of(module, "cuda"):
        assert module.places == ["cuda"]
    assert module.places == ["cuda", "cpu"]
    module.weight = nn.Parameter(torch.zeros(1, device="meta"))
    with backend_of(module, "cuda"):
        pass
    assert module.places[2:] == ["cuda", "meta"]
