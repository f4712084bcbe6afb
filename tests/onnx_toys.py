"""Small float32 ONNX files with every part that a precision has to treat in its own way."""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

CHANNELS = 8
SHAPE = (1, 3, 16, 16)


def write_model(path: Path, nodes, constants, outputs, inputs=None, opset: int = 17) -> Path:
    """An ONNX file of nodes (op type, inputs, output, attributes), named by their outputs."""
    made = [
        helper.make_node(kind, list(read), [made], name=made, **attributes)
        for kind, read, made, attributes in nodes
    ]
    graph = helper.make_graph(
        made,
        "toy",
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
            for name, shape in (inputs or {"images": ("batch", *SHAPE[1:])}).items()
        ],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    onnx.save(model, path)
    return path


def weights(*shape: int, seed: int = 0, scale: float = 1.0):
    """Normal weights that keep the size of what they are applied to, times ``scale``."""
    fan_in = np.prod(shape[1:])
    values = np.random.default_rng(seed).normal(size=shape) / np.sqrt(fan_in)
    return (scale * values).astype(np.float32)


def detector(path: Path, *, overflow: bool = False, bad_channel: bool = False) -> Path:
    """Convolutions with a skip, a join and a head, then boxes in pixels and scores.

    Args:
        path: of the file to write.
        overflow: "large" makes values of about 1e5, which "small" divides again.
        bad_channel: the input of "small" has one channel a thousand times larger than the others.
    """
    widen = np.ones((CHANNELS, 1, 1, 1), np.float32)
    if bad_channel:
        widen[0] = 1e3
    size = 1e5 if overflow else 1.0
    same = {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}
    constants = {
        "stem.w": weights(CHANNELS, 3, 3, 3),
        "stem.b": np.linspace(-1, 1, CHANNELS, dtype=np.float32),
        "large.w": weights(CHANNELS, CHANNELS, 3, 3, seed=1, scale=size) * widen,
        "small.w": weights(CHANNELS, CHANNELS, 3, 3, seed=2, scale=1 / size)
        / widen.reshape(1, CHANNELS, 1, 1),
        "head.w": weights(5, 2 * CHANNELS, 1, 1, seed=3),
        "rows": np.array([0, 5, -1]),
        "stride": np.float32(300),
    }
    nodes = [
        ("Conv", ("images", "stem.w", "stem.b"), "stem", same),
        ("Relu", ("stem",), "stem_relu", {}),
        ("Conv", ("stem_relu", "large.w"), "large", same),
        ("Conv", ("large", "small.w"), "small", same),
        ("Add", ("small", "stem_relu"), "skip", {}),
        ("MaxPool", ("skip",), "pool", {**same, "strides": [1, 1]}),
        ("Concat", ("pool", "stem_relu"), "join", {"axis": 1}),
        ("Conv", ("join", "head.w"), "head", {"kernel_shape": [1, 1]}),
        ("Reshape", ("head", "rows"), "flat", {}),
        ("Split", ("flat", "parts"), "raw", {"axis": 1}),
        ("Exp", ("raw",), "exp", {}),
        ("Mul", ("exp", "stride"), "boxes", {}),
    ]
    constants["parts"] = np.array([4, 1])
    write_model(path, nodes, constants, ["boxes"])
    model = onnx.load(path)
    split = next(node for node in model.graph.node if node.op_type == "Split")
    split.output.append("logit")
    model.graph.node.append(helper.make_node("Sigmoid", ["logit"], ["scores"], name="scores"))
    model.graph.output.append(helper.make_tensor_value_info("scores", TensorProto.FLOAT, None))
    onnx.save(model, path)
    return path


def images(count: int, seed: int = 0):
    """Inputs of ``detector``."""
    generator = np.random.default_rng(seed)
    return [{"images": generator.normal(size=SHAPE).astype(np.float32)} for _ in range(count)]
