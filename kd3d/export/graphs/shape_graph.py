"""The ONNX graph of a network for its shapes alone: no weights kept, no convolution computed.

A latency predictor reads operators and shapes. Exporting for it as for a vehicle would compute each
convolution once and write each weight: seconds and hundreds of megabytes for nothing. Here
convolutions answer with zeros of the right shape while the network is traced, and large weights
lose their values but keep their shapes, so such a file cannot be run.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import onnx
import torch
from onnxscript import optimizer
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from kd3d.export.graphs.tracing import traced

KEPT_ELEMENTS = 1024  # shapes, indices and anchors of a level are smaller, weights larger


def shape_graph(
    module: nn.Module,
    example: Mapping[str, Tensor],
    *,
    output_names: Sequence[str] = (),
) -> onnx.ModelProto:
    """The graph of ``module(*example.values())`` with a shape for every tensor.

    Batch norms are folded into their convolutions, as in a real export.

    Args:
        module: tensors in, a tensor or a tuple of tensors out; in eval mode. Values of its weights
            do not matter.
        example: inputs by name, in the module's order.
        output_names: of the outputs, in order; numbered by default.

    Returns:
        A model whose float initializers of more than ``KEPT_ELEMENTS`` have dims and no data.
    """
    with without_arithmetic(module):
        model = traced(module, example, output_names=output_names, opset=17)
    strip_weights(model)
    model = optimizer.optimize(onnx.shape_inference.infer_shapes(model, data_prop=True))
    strip_weights(model)  # of those that the optimizer made, of transposed convolutions
    return onnx.shape_inference.infer_shapes(model)


def uninitialised(build: Callable[[], nn.Module]) -> nn.Module:
    """Builds a module without drawing its weights, which takes longer than all the rest.

    Each parameter is one number everywhere, and no two have the same: the exporter shares equal
    ones, and would then take two convolutions of one input for the same computation.
    """
    with _NoDrawing():
        module = build()
    with torch.no_grad():
        for index, parameter in enumerate(module.parameters()):
            parameter.fill_(1 + index / 1024)
    return module


def strip_weights(model: onnx.ModelProto) -> None:
    """Drops the values of large float initializers in place; dims and type stay."""
    for tensor in model.graph.initializer:
        floating = tensor.data_type in (onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16)
        if floating and math.prod(tensor.dims) > KEPT_ELEMENTS:
            for field in ("raw_data", "float_data", "int32_data"):
                tensor.ClearField(field)


@contextmanager
def without_arithmetic(module: nn.Module) -> Iterator[None]:
    """Within, the module's convolutions answer with zeros, without computing them."""
    with ExitStack() as stack:
        for child in module.modules():
            size = None
            if isinstance(child, nn.Conv1d | nn.Conv2d):
                size = _shape
            elif isinstance(child, nn.ConvTranspose2d):
                size = _transposed_shape
            if size is not None and "forward" not in vars(child):  # not within another
                child.forward = _forward(child, size)
                stack.callback(child.__dict__.pop, "forward")
        yield


class _NoDrawing(TorchFunctionMode):
    """Random initialisation in place does nothing."""

    def __torch_function__(
        self,
        func: Any,  # Any: as torch calls it
        types: Any,
        args: Any = (),
        kwargs: Any = None,
    ) -> Any:
        named = kwargs or {}
        if getattr(func, "__module__", "") == "torch.nn.init":
            return args[0] if args else named["tensor"]
        if func in (Tensor.uniform_, Tensor.normal_):
            return args[0]
        return func(*args, **named)


class _Convolution(torch.autograd.Function):
    """Zeros for a convolution's output, and ONNX's operator in the graph."""

    @staticmethod
    def forward(
        _ctx: Any, x: Tensor, _weight: Tensor, _bias: Tensor | None, shape: tuple[int, ...], *_: Any
    ) -> Tensor:
        return x.new_zeros(shape)

    @staticmethod
    def symbolic(
        g: Any,  # Any: torch._C.Graph with the exporter's additions
        x: Any,
        weight: Any,
        bias: Any,
        shape: tuple[int, ...],
        operator: str,
        attributes: dict[str, Any],
    ) -> Any:
        """The node that a real export writes."""
        inputs = (x, weight) if bias is None else (x, weight, bias)
        out = g.op(operator, *inputs, **attributes)
        out.setType(x.type().with_sizes(list(shape)))
        return out


def _forward(convolution: Any, size: Any) -> Any:  # Any: of one or two dimensions
    transposed = isinstance(convolution, nn.ConvTranspose2d)
    pads = [*convolution.padding, *convolution.padding]
    attributes = {
        "dilations_i": list(convolution.dilation),
        "group_i": convolution.groups,
        "kernel_shape_i": list(convolution.kernel_size),
        "pads_i": pads,
        "strides_i": list(convolution.stride),
    }
    if transposed and any(convolution.output_padding):
        attributes["output_padding_i"] = list(convolution.output_padding)

    def forward(x: Tensor) -> Tensor:
        axes = range(len(convolution.kernel_size))
        cells = [size(convolution, int(x.shape[2 + axis]), axis) for axis in axes]
        shape = (int(x.shape[0]), convolution.out_channels, *cells)
        operator = "ConvTranspose" if transposed else "Conv"
        out: Tensor = _Convolution.apply(  # type: ignore[no-untyped-call]
            x, convolution.weight, convolution.bias, shape, operator, attributes
        )
        return out

    return forward


def _shape(layer: Any, size: int, axis: int) -> int:  # Any: a convolution
    reach = layer.dilation[axis] * (layer.kernel_size[axis] - 1) + 1
    return int((size + 2 * layer.padding[axis] - reach) // layer.stride[axis] + 1)


def _transposed_shape(layer: Any, size: int, axis: int) -> int:  # Any: a convolution
    reach = layer.dilation[axis] * (layer.kernel_size[axis] - 1) + 1
    start = (size - 1) * layer.stride[axis] - 2 * layer.padding[axis]
    return int(start + reach + layer.output_padding[axis])
