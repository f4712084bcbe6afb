"""TensorRT's ONNX parser, with every one of its messages. Python 3.8 and tensorrt only."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from kd3d.errors import UserError

if TYPE_CHECKING:
    import tensorrt as trt


def parse_onnx(trt: Any, network: trt.INetworkDefinition, logger: trt.ILogger, path: Path) -> None:
    """Fills the network from the file.

    Raises:
        UserError: with each of the parser's messages: which node, which operator, and why.
    """
    parser = trt.OnnxParser(network, logger)
    if parser.parse_from_file(str(path)):
        return
    errors = [error_text(parser.get_error(index)) for index in range(parser.num_errors)]
    listed = "\n".join(f"  {text}" for text in errors) or "  the parser gave no reason"
    raise UserError(
        f"{path}: TensorRT {trt.__version__} cannot parse it:\n{listed}\n"
        "export it again with tools/export.py, which checks every operator"
    )


def error_text(error: trt.ParserError) -> str:
    """One message of the parser: node, operator (where TensorRT names them), code and reason."""
    name = error.node_name() if hasattr(error, "node_name") else ""
    operator = error.node_operator() if hasattr(error, "node_operator") else ""
    named = f" '{name}' ({operator})" if name or operator else ""
    where = f" [{error.func()} in {error.file()}:{error.line()}]"
    return f"node {error.node()}{named}: {error.code().name}: {error.desc()}{where}"
