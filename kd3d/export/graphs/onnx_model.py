"""An ONNX file from a PyTorch module, in operators that TensorRT 8.5 to 11 take."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from kd3d.errors import UserError
from kd3d.export.graphs.constant_fills import fold_integer_fills
from kd3d.export.graphs.graph_parts import save_model
from kd3d.export.graphs.operators import operator_problems
from kd3d.export.graphs.sibling_convolutions import merge_siblings
from kd3d.export.graphs.tracing import traced

OPSETS = range(13, 18)
# Opset 17 changes no operator of 16. It adds LayerNormalization, which TensorRT 8.5 lacks; traced
# for 16, layer norms are made of operators that it has.
TRACED_OPSET = 16


def onnx_from_model(
    module: nn.Module,
    example: Mapping[str, Tensor],
    path: str | Path,
    *,
    output_names: Sequence[str],
    opset: int = 17,
    dynamic_axes: Mapping[str, Mapping[int, str]] | None = None,
) -> Path:
    """Exports ``module(*example.values())``; the file is whole and checked, or absent.

    Args:
        module: tensors in, a tuple of tensors out; exported in eval mode.
        example: inputs by the names that they get in the file, in the module's order.
        path: of the file to write.
        output_names: names of the outputs in the file, in order.
        opset: 13 to 17, what TensorRT 8.5 to 11 read.
        dynamic_axes: of inputs and outputs, the sizes that are free and their names; all others
            are the example's.

    Raises:
        UserError: for another opset, or an operator that TensorRT lacks.
    """
    from onnxscript import optimizer

    if opset not in OPSETS:
        raise UserError(f"opset {opset}: expected {OPSETS[0]} to {OPSETS[-1]}")
    model = optimizer.optimize(
        traced(
            module,
            example,
            output_names=output_names,
            opset=min(opset, TRACED_OPSET),
            dynamic_axes=dynamic_axes,
        )
    )
    if fold_integer_fills(model):
        model = optimizer.optimize(model)
    if merge_siblings(model):
        model = optimizer.optimize(model)
    model.opset_import[0].version = opset
    _check_operators(model, opset)
    return save_model(model, path)


def _check_operators(model: Any, opset: int) -> None:
    problems = operator_problems(model)
    if problems:
        raise UserError(
            "the model needs what not every TensorRT takes:\n  "
            + "\n  ".join(problems)
            + "\nreplace the layers that make it (deformable convolutions have no ONNX operator)"
        )
    found = {node.op_type for node in model.graph.node}
    if "RoiAlign" in found and opset < TRACED_OPSET:
        raise UserError(
            f"opset {opset}: a two-stage detector needs {TRACED_OPSET} or {OPSETS[-1]}; before, "
            "ONNX's RoiAlign lies half a pixel off mmdet's"
        )
