"""Backend over any ``nn.Module`` that takes and returns tensors."""

from collections.abc import Sequence

import torch
from torch import nn
from typing_extensions import Self

from kd3d.backends.base import Array, Feeds, TensorSpec, check_feeds


class PytorchBackend:
    """Calls ``module(*inputs)`` in eval mode without gradient.

    Args:
        module: takes the inputs in the order of ``inputs``; returns a tensor or a tuple of them.
        inputs: names, shapes and types.
        output_names: one name a returned tensor, in order.
        device: where the module is run.
    """

    name = "pytorch"

    def __init__(
        self,
        module: nn.Module,
        inputs: Sequence[TensorSpec],
        output_names: Sequence[str],
        *,
        device: str = "cpu",
    ) -> None:
        self.module = module
        self.inputs = tuple(inputs)
        self.output_names = tuple(output_names)
        self.device = device
        self._was_training = module.training

    def __enter__(self) -> Self:
        self._was_training = self.module.training
        self.module.to(self.device).eval()
        return self

    def __exit__(self, *error: object) -> None:
        self.module.train(self._was_training)

    def infer(self, feeds: Feeds) -> dict[str, Array]:
        """Runs the module; arrays are copied to the device and back."""
        check_feeds(self.inputs, feeds)
        tensors = [torch.from_numpy(feeds[spec.name]).to(self.device) for spec in self.inputs]
        with torch.inference_mode():
            outputs = self.module(*tensors)
        outputs = (outputs,) if isinstance(outputs, torch.Tensor) else tuple(outputs)
        assert len(outputs) == len(self.output_names), (len(outputs), self.output_names)
        return {
            name: output.cpu().numpy()
            for name, output in zip(self.output_names, outputs, strict=True)
        }
