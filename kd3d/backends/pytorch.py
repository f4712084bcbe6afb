"""Backend over any ``nn.Module`` that takes and returns tensors."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from itertools import chain
from typing import Any

import torch
from torch import nn
from typing_extensions import Self

from kd3d.backends.base import Array, Feeds, TensorSpec, check_feeds


class PytorchBackend:
    """Calls ``module(*inputs)`` in eval mode without gradient.

    After the ``with`` block the module is in the mode and on the device that it had before.

    Args:
        module: takes the inputs in the order of ``inputs``; returns a tensor or a tuple of them.
        inputs: names, shapes and types.
        output_names: one name a returned tensor, in order.
        device: where the module is run.
        exact: float32 is computed without TF32, for comparisons; a latency is that of torch's own
            settings, as users run it.
    """

    name = "pytorch"

    def __init__(
        self,
        module: nn.Module,
        inputs: Sequence[TensorSpec],
        output_names: Sequence[str],
        *,
        device: str = "cpu",
        exact: bool = True,
    ) -> None:
        self.module = module
        self.inputs = tuple(inputs)
        self.output_names = tuple(output_names)
        self.device = device
        self.exact = exact
        self._was_training, self._was_on = module.training, _device_of(module)

    def __enter__(self) -> Self:
        self._was_training, self._was_on = self.module.training, _device_of(self.module)
        self.module.to(self.device).eval()
        return self

    def __exit__(self, *error: object) -> None:
        self.module.train(self._was_training).to(self._was_on)

    def infer(self, feeds: Feeds) -> dict[str, Array]:
        """Runs the module; arrays are copied to the device and back."""
        check_feeds(self.inputs, feeds)
        tensors = [torch.from_numpy(feeds[spec.name]).to(self.device) for spec in self.inputs]
        with torch.inference_mode(), _without_tf32() if self.exact else nullcontext():
            outputs = self.module(*tensors)
        outputs = (outputs,) if isinstance(outputs, torch.Tensor) else tuple(outputs)
        assert len(outputs) == len(self.output_names), (len(outputs), self.output_names)
        return {
            name: output.cpu().numpy()
            for name, output in zip(self.output_names, outputs, strict=True)
        }


def _device_of(module: nn.Module) -> torch.device:
    """Of its first weight; the CPU if it has none."""
    weights = chain(module.parameters(), module.buffers())
    return next((weight.device for weight in weights), torch.device("cpu"))


@contextmanager
def _without_tf32() -> Iterator[None]:
    """TF32 has 10 bits of mantissa; PyTorch's convolutions take it by themselves on a GPU."""
    switches = _tf32_switches()
    before = [getattr(owner, name) for owner, name, _ in switches]
    try:
        for owner, name, off in switches:
            setattr(owner, name, off)
        yield
    finally:
        for (owner, name, _), value in zip(switches, before, strict=True):
            setattr(owner, name, value)


def _tf32_switches() -> list[tuple[Any, str, Any]]:  # Any: torch types them as modules
    """(owner, attribute, value without TF32) of convolutions and of products."""
    convolutions: Any = torch.backends.cudnn
    products: Any = torch.backends.cuda.matmul
    if hasattr(convolutions, "conv"):  # PyTorch 2.9; it refuses the older ones beside these
        name, off = "fp32_precision", "ieee"
        return [(convolutions.conv, name, off), (products, name, off)]
    return [(convolutions, "allow_tf32", False), (products, "allow_tf32", False)]
