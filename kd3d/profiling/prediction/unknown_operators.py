"""Operators that no rule of fusion.py covers: which of them leave nothing to predict, and why."""

from collections.abc import Sequence

from kd3d.errors import UserError

# A kernel of which only the bytes are known: no more than the order of magnitude of its time is.
UNKNOWN_FACTOR = 10
# Of these, what is read and written says nothing of the time: they multiply, or run graphs or steps
# of their own. Another operator that is not known is taken as bound by memory.
_REASONS = {
    "products in a form of their own; export them as Conv, Gemm, MatMul and Softmax": (
        *("Attention", "FusedConv", "FusedGemm", "FusedMatMul", "GroupQueryAttention"),
        *("MultiHeadAttention", "QAttention"),
    ),
    "integer operators that TensorRT does not read; export QuantizeLinear and DequantizeLinear": (
        *("ConvInteger", "DynamicQuantizeLSTM", "MatMulInteger", "QGemm", "QLinearConv"),
        "QLinearMatMul",
    ),
    "steps one after another, in a time that no published row tells": ("GRU", "LSTM", "RNN"),
    "a graph of its own, run by choice or in turns; export without control flow": (
        *("If", "Loop", "Scan", "SequenceMap"),
    ),
    "multiplies what offsets point at, in a time that no published row tells": (
        *("DeformConv", "ModulatedDeformConv2d", "MMCVDeformConv2d", "MMCVModulatedDeformConv2d"),
    ),
    "of more than two tensors; export it as products of two": ("Einsum",),
}
_REASON_OF = {op: reason for reason, operators in _REASONS.items() for op in operators}


def refuse_uncounted(unknown: Sequence[str]) -> None:
    """Refuses a graph whose work cannot be counted.

    Args:
        unknown: its operators that no rule covers.

    Raises:
        UserError: if one of them does far more than read and write.
    """
    found = [f"{op} ({_REASON_OF[op]})" for op in unknown if op in _REASON_OF]
    if found:
        raise UserError(
            f"no latency can be predicted, as the operations of these are not counted: "
            f"{'; '.join(found)}"
        )
