"""Weights of an ONNX file with folded batch norm, put into a detector of MMDetection.

Names are lost in such a file and the order of execution may differ between two programs, so a
convolution is recognised by its place in the data flow: the shape of its own weight, and, step by
step further away, those of the convolutions before and after it. Batch norm becomes the identity
and carries the folded bias.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from kd3d.backends.parity import tensor_difference
from kd3d.errors import UserError
from kd3d.export.graphs.graph_parts import largest
from kd3d.export.graphs.sibling_convolutions import MERGED

Array = NDArray[np.float32]


@dataclass
class Convolution:
    """One convolution of a network: its weight's shape and the convolutions that feed it."""

    name: str
    shape: tuple[int, ...]
    inputs: set[int] = field(default_factory=set)


def fixed_size(model: Any) -> tuple[int, int] | None:
    """(H, W) px of an ONNX file's image input (B, C, H, W), None where it takes any."""
    sizes = [axis.dim_value for axis in model.graph.input[0].type.tensor_type.shape.dim]
    return (sizes[2], sizes[3]) if len(sizes) == 4 and sizes[2] and sizes[3] else None


def weights_from_onnx(detector: nn.Module, model: Any, example: Tensor) -> dict[str, Tensor]:
    """State dict of ``detector`` with the weights of an ONNX file of the same network.

    Args:
        detector: each convolution is followed by a batch norm or has a bias of its own.
        model: ``onnx.ModelProto``, batch norm folded into the convolutions.
        example: (1, C, H, W) of a size that both take.

    Raises:
        UserError: if the networks differ, or two places cannot be told apart.
    """
    ours, norms = convolutions_of_module(detector, example)
    theirs, weights = convolutions_of_onnx(model)
    state = {key: value.clone() for key, value in detector.state_dict().items()}
    for mine, other in match_convolutions(ours, theirs).items():
        weight, bias = weights[theirs[other].name]
        name = ours[mine].name
        state[f"{name}.weight"] = torch.from_numpy(weight.copy())
        if f"{name}.bias" in state:
            state[f"{name}.bias"] = torch.from_numpy(bias.copy())
        elif name in norms:
            state.update(_identity_norm(*norms[name], bias))
        elif np.any(bias):
            raise UserError(f"'{name}' has neither bias nor batch norm, but the file has a bias")
    return state


def largest_difference(detector: nn.Module, model: Any, example: Tensor) -> float:
    """Largest difference of any convolution's output, as a share of its largest absolute value.

    Batch norm counts as part of the convolution before it.

    Args:
        detector: with the weights of ``weights_from_onnx``.
        model: the ``onnx.ModelProto`` they came from.
        example: (1, C, H, W) network input.
    """
    import onnx
    import onnxruntime

    ours, norms = convolutions_of_module(detector, example)
    theirs, _ = convolutions_of_onnx(model)
    pairs = {
        norms[ours[mine].name][0] if ours[mine].name in norms else ours[mine].name: theirs[other]
        for mine, other in match_convolutions(ours, theirs).items()
    }
    opened = onnx.ModelProto()
    opened.CopyFrom(model)
    del opened.graph.output[:]
    for convolution in theirs:
        value = onnx.helper.make_tensor_value_info(convolution.name, onnx.TensorProto.FLOAT, None)
        opened.graph.output.append(value)
    session = onnxruntime.InferenceSession(
        opened.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    arrays = session.run(None, {model.graph.input[0].name: example.numpy()})
    expected = {conv.name: array for conv, array in zip(theirs, arrays, strict=True)}
    received = _outputs_of(detector, list(pairs), example)
    return max(
        _share_of_largest(expected[conv.name], received[name]) for name, conv in pairs.items()
    )


def _share_of_largest(expected: Array, received: Array) -> float:
    """Largest difference over the largest absolute value; infinite where one is not finite."""
    difference, reach = tensor_difference(expected, received).max_abs, largest(expected)
    return difference / reach if reach and np.isfinite(difference) else difference


def _outputs_of(detector: nn.Module, names: Sequence[str], example: Tensor) -> dict[str, Array]:
    """Output of each named module in one forward without gradient."""
    found: dict[str, Array] = {}

    def record(name: str) -> Any:
        # clone: an activation after it may work in place
        return lambda _module, _inputs, out: found.update({name: out.clone().numpy()})

    modules = dict(detector.named_modules())
    handles = [modules[name].register_forward_hook(record(name)) for name in names]
    module: Any = detector.eval()
    try:
        with torch.no_grad():
            module.bbox_head(module.extract_feat(example))
    finally:
        for handle in handles:
            handle.remove()
    return found


def match_convolutions(
    ours: Sequence[Convolution], theirs: Sequence[Convolution]
) -> dict[int, int]:
    """Index in ``ours`` to index in ``theirs`` of the convolution at the same place.

    Raises:
        UserError: if the networks differ, or two convolutions have the same surroundings.
    """
    if len(ours) != len(theirs):
        raise UserError(f"the detector has {len(ours)} convolutions, the ONNX file {len(theirs)}")
    labels = [_places(network) for network in (ours, theirs)]
    position = {label: index for index, label in enumerate(labels[1])}
    counts = Counter(labels[0])
    for index, label in enumerate(labels[0]):
        if label not in position:
            raise UserError(
                f"no convolution of the ONNX file is at the place of '{ours[index].name}' "
                f"{ours[index].shape}; the file is of another network than the config"
            )
        if counts[label] > 1:
            raise UserError(
                f"'{ours[index].name}' {ours[index].shape} and {counts[label] - 1} more have the "
                "same surroundings and cannot be told apart"
            )
    return {index: position[label] for index, label in enumerate(labels[0])}


def _places(network: Sequence[Convolution]) -> list[int]:
    """A number for each convolution that is equal for equal surroundings (Weisfeiler-Lehman)."""
    outputs: list[list[int]] = [[] for _ in network]
    for index, convolution in enumerate(network):
        for source in convolution.inputs:
            outputs[source].append(index)
    labels = [hash(convolution.shape) for convolution in network]
    for _ in network:
        before = [tuple(sorted(labels[i] for i in conv.inputs)) for conv in network]
        after = [tuple(sorted(labels[i] for i in indices)) for indices in outputs]
        labels = [hash(place) for place in zip(labels, before, after, strict=True)]
    return labels


def convolutions_of_onnx(
    model: Any,
) -> tuple[list[Convolution], dict[str, tuple[Array, Array]]]:
    """Convolutions of an ONNX graph, and the weight and bias of each by its node's output."""
    from onnx import numpy_helper

    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    sources: dict[str, set[int]] = {}
    found: list[Convolution] = []
    weights: dict[str, tuple[Array, Array]] = {}
    for node in model.graph.node:
        incoming = {index for name in node.input for index in sources.get(name, ())}
        if node.op_type == "Conv":
            if node.name.endswith(MERGED):
                raise UserError(
                    f"'{node.name}' is several convolutions: kd3d exported this file, and the "
                    "weights lie beside it in weights.pth"
                )
            if node.input[1] not in constants:
                raise UserError(f"the weight of '{node.name}' in the ONNX file is no constant")
            arrays = [numpy_helper.to_array(constants[name]) for name in node.input[1:]]
            weight = arrays[0]
            bias = arrays[1] if len(arrays) > 1 else np.zeros(len(weight), np.float32)
            weights[node.output[0]] = (weight, bias)
            incoming, found = (
                {len(found)},
                [*found, Convolution(node.output[0], weight.shape, incoming)],
            )
        for name in node.output:
            sources[name] = incoming
    return found, weights


def convolutions_of_module(
    detector: nn.Module, example: Tensor
) -> tuple[list[Convolution], dict[str, tuple[str, nn.Module]]]:
    """Convolutions of a module in eval mode, and the batch norm that follows each.

    The data flow is read from autograd's graph of one forward.
    """
    names = {id(p): key for key, p in detector.named_parameters()}
    module: Any = detector.eval()
    frozen = [p for p in detector.parameters() if not p.requires_grad]
    try:
        for parameter in frozen:
            parameter.requires_grad_(True)
        with torch.enable_grad():
            outputs = module.bbox_head(module.extract_feat(example))
        flow = _Flow(names)
        for output in (level for levels in outputs for level in levels):
            flow.visit(output.grad_fn)
    finally:
        for parameter in frozen:
            parameter.requires_grad_(False)
    modules = dict(detector.named_modules())
    norms = {conv: (norm, modules[norm]) for norm, conv in flow.norms.items()}
    return flow.convolutions, norms


class _Flow:
    """Reads convolutions and their order from autograd's graph, outputs first."""

    def __init__(self, parameter_names: Mapping[int, str]) -> None:
        self.convolutions: list[Convolution] = []
        self.norms: dict[str, str] = {}  # batch norm to the convolution before it
        self._names = parameter_names
        self._sources: dict[Any, set[int]] = {}  # convolutions that feed each node's output

    def visit(self, output: Any) -> None:
        """Adds what ``output`` (a ``grad_fn``) depends on; without recursion, graphs are deep."""
        stack = [output]
        while stack:
            node = stack[-1]
            waiting = [parent for parent in _parents(node) if parent not in self._sources]
            if waiting and node not in self._sources:
                stack.extend(waiting)
                continue
            stack.pop()
            if node not in self._sources:
                self._sources[node] = self._add(node)

    def _add(self, node: Any) -> set[int]:
        incoming = {index for parent in _parents(node) for index in self._sources[parent]}
        kind = node.name()
        if kind.startswith("ConvolutionBackward"):
            weight = node.next_functions[1][0].variable
            name = self._names[id(weight)].removesuffix(".weight")
            self.convolutions.append(Convolution(name, tuple(weight.shape), incoming))
            return {len(self.convolutions) - 1}
        if "BatchNormBackward" in kind:
            norm = self._names[id(node.next_functions[1][0].variable)].removesuffix(".weight")
            (index,) = incoming
            self.norms[norm] = self.convolutions[index].name
        return incoming


def _parents(node: Any) -> Iterator[Any]:
    return (parent for parent, _ in node.next_functions if parent is not None)


def _identity_norm(name: str, norm: nn.Module, bias: Array) -> dict[str, Tensor]:
    """State of a batch norm that only adds ``bias`` in eval mode."""
    if not isinstance(norm, _BatchNorm):
        raise UserError(f"'{name}' is {type(norm).__name__}, expected a batch norm")
    offset = torch.from_numpy(bias.copy())
    # (x - 0) / sqrt(var + eps) * weight is x exactly: the two roots are the same number
    scale = torch.sqrt(torch.ones_like(offset) + norm.eps)
    return {
        f"{name}.weight": scale,
        f"{name}.bias": offset,
        f"{name}.running_mean": torch.zeros_like(offset),
        f"{name}.running_var": torch.ones_like(offset),
    }
