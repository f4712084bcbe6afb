"""Inputs and outputs of an engine: names, types, shapes. Python 3.8, NumPy and tensorrt only."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from kd3d.backends.base import Array, Feeds, TensorSpec, check_feeds
from kd3d.backends.tensorrt_module import Messages
from kd3d.errors import UserError

if TYPE_CHECKING:
    import tensorrt as trt

# TensorRT's names of types. Not trt.nptype: in 8.5 it needs a NumPy older than 1.24.
_DTYPES = {
    "FLOAT": "float32",
    "HALF": "float16",
    "INT8": "int8",
    "UINT8": "uint8",
    "INT32": "int32",
    "INT64": "int64",
    "BOOL": "bool",
}


class EngineTensors:
    """What goes into an engine and comes out of it, read once.

    Attributes:
        inputs: names in the engine's order.
        outputs: the same of the outputs.
        dtypes: by name, as NumPy writes it.
        specs: of the inputs; None is a free size.
        largest_inputs: by name, the profile's largest shape, or the only one.
        smallest_inputs: the same of the smallest.
        messages: what TensorRT says about the engine.

    Raises:
        UserError: if a tensor has a type that NumPy lacks, or lies on the host.
    """

    def __init__(self, trt: Any, engine: trt.ICudaEngine, messages: Messages) -> None:
        self.messages = messages
        names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
        modes = {name: engine.get_tensor_mode(name).name for name in names}
        self.inputs = tuple(name for name in names if modes[name] == "INPUT")
        self.outputs = tuple(name for name in names if modes[name] == "OUTPUT")
        self.dtypes = {name: _dtype(engine, name) for name in names}
        for name in names:
            if engine.get_tensor_location(name) != trt.TensorLocation.DEVICE:
                raise UserError(
                    f"'{name}' holds a shape, not data, which only graphs from elsewhere have; "
                    "export the model with tools/export.py"
                )
        shapes = {
            name: tuple(int(n) for n in engine.get_tensor_shape(name)) for name in self.inputs
        }
        self.smallest_inputs, self.largest_inputs = {}, {}
        for name, shape in shapes.items():
            bounds = engine.get_tensor_profile_shape(name, 0) if -1 in shape else [shape] * 3
            self.smallest_inputs[name] = tuple(int(n) for n in bounds[0])
            self.largest_inputs[name] = tuple(int(n) for n in bounds[2])
        self.specs = tuple(
            TensorSpec(
                name, tuple(None if size == -1 else size for size in shape), self.dtypes[name]
            )
            for name, shape in shapes.items()
        )

    @property
    def memory_hint(self) -> str:
        """What to do where there is no memory for the largest shapes."""
        free = [
            name for name, low in self.smallest_inputs.items() if low != self.largest_inputs[name]
        ]
        if not free:
            return "free memory that other programs hold"
        largest = ", ".join(f"'{name}' {self.largest_inputs[name]}" for name in free)
        return (
            f"it is for the largest shapes of the engine, {largest}: export with --batch 1, "
            "or pillars with --pillars N, which takes less"
        )

    def fit(self, feeds: Feeds) -> dict[str, Array]:
        """The feeds as the engine takes them.

        TensorRT 8 has no 64-bit integers: it makes such an input of the ONNX file a 32-bit one.
        Arrays of the file's type are accepted for it if their values fit.

        Raises:
            UserError: if they do not fit the inputs or the profile.
        """
        fitted = {name: _narrowed(name, array, self.dtypes) for name, array in feeds.items()}
        check_feeds(self.specs, fitted)
        for name, array in fitted.items():
            low, high = self.smallest_inputs[name], self.largest_inputs[name]
            if any(size < a or size > b for size, a, b in zip(array.shape, low, high)):  # noqa: B905
                raise UserError(
                    f"input '{name}': got shape {tuple(array.shape)}, the engine takes {low} to "
                    f"{high}; for more images or frames in a run export with --batch N"
                )
        return fitted


def _dtype(engine: trt.ICudaEngine, name: str) -> str:
    found = engine.get_tensor_dtype(name).name
    if found not in _DTYPES:
        raise UserError(f"'{name}' has type {found}; expected one of {', '.join(_DTYPES)}")
    return _DTYPES[found]


def _narrowed(name: str, array: Array, dtypes: dict[str, str]) -> Array:
    if str(array.dtype) != "int64" or dtypes.get(name) != "int32":
        return array
    bounds = np.iinfo(np.int32)
    if array.size and (array.min() < bounds.min or array.max() > bounds.max):
        raise UserError(
            f"input '{name}': a value lies outside of 32 bits, and TensorRT 8 has no wider integers"
        )
    narrowed: Array = array.astype(np.int32)
    return narrowed
