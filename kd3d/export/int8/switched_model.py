"""A float32 model whose tensors can be rounded or not, from one run to the next.

Which layers suffer from a lower precision is a question of many runs of nearly the same graph.
Here one ONNX Runtime session answers them all: at each place that a lower precision would round
stand the rounding and a ``Where`` that takes it or leaves it, switched by inputs of the model.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import numpy as np

from kd3d.backends.base import Array, Feeds
from kd3d.backends.openmp import openmp_threads
from kd3d.export.graphs.graph_parts import Graph, rename

# (node, one of its tensors, whether it reads it) -> name of a switch, and the nodes whose last
# output is the rounded tensor; None: leave it
Rounding = Callable[[Any, str, bool], tuple[str, Sequence[Any]] | None]  # Any: onnx nodes
_SWITCH = "switch:"


class SwitchedModel:
    """Runs a model with the roundings whose switch is on: ``run(feeds, on)``.

    Args:
        graph: of the float32 model, left as it is.
        rounding: says what can be rounded, by which switch.
        outputs: names of the float tensors to answer.
        constants: further initializers that the roundings read.
        settings: further inputs that they read, with their first values; ``settings`` may be
            changed between runs.
    """

    def __init__(
        self,
        graph: Graph,
        rounding: Rounding,
        *,
        outputs: Sequence[str],
        constants: Mapping[str, Array] | None = None,
        settings: Mapping[str, Array] | None = None,
    ) -> None:
        self.outputs = list(dict.fromkeys(outputs))
        self.settings = dict(settings or {})
        model, self.switches = _switched(graph, rounding)
        _declare(model, self.outputs, self.switches, constants or {}, self.settings)
        self._session = _session(model)

    def run(self, feeds: Feeds, on: Collection[str] = ()) -> dict[str, Array]:
        """The outputs, rounded where a switch is named in ``on``, all else in float32."""
        switches = {_SWITCH + name: np.array(name in on) for name in self.switches}
        answers = self._session.run(self.outputs, {**feeds, **switches, **self.settings})
        return dict(zip(self.outputs, answers, strict=True))


def relative_noise(expected: Sequence[Array], received: Sequence[Array]) -> float:
    """Root of noise power over signal power of one tensor in several runs; inf if not finite."""
    signal = noise = 0.0
    for reference, array in zip(expected, received, strict=True):
        if not np.isfinite(array).all():
            return float("inf")
        difference = array.astype(np.float64) - reference
        signal += float((reference.astype(np.float64) ** 2).sum())
        noise += float((difference**2).sum())
    if noise == 0:
        return 0.0
    return float(np.sqrt(noise / signal)) if signal else float("inf")


def _switched(graph: Graph, rounding: Rounding) -> tuple[Any, list[str]]:
    """The model with roundings in it, and the names of the switches."""
    from onnx import ModelProto

    model = ModelProto()
    model.CopyFrom(graph.model)
    nodes: list[Any] = []
    switches: dict[str, None] = {}
    for node in model.graph.node:
        after: list[Any] = []
        for place in graph.float_inputs(node):
            switch, added = _choice(rounding, node, node.input[place], place)
            if added:
                switches[switch] = None
                node.input[place] = added[-1].output[0]
                nodes += added
        for place, name in enumerate(node.output):
            if name not in graph.floats:
                continue
            switch, added = _choice(rounding, node, name, -1 - place)
            if added:  # the plain tensor gets another name, so that all users read the choice
                switches[switch] = None
                plain = node.output[place] = added[-1].output[0]
                for step in added:
                    rename(step.input, name, plain)
                added[-1].output[0] = name
                after += added
        nodes += [node, *after]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return model, list(switches)


def _declare(
    model: Any,
    outputs: Sequence[str],
    switches: Sequence[str],
    constants: Mapping[str, Array],
    settings: Mapping[str, Array],
) -> None:
    from onnx import TensorProto, helper, numpy_helper

    graph = model.graph
    del graph.value_info[:]
    del graph.output[:]
    graph.output.extend(
        helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs
    )
    graph.input.extend(
        helper.make_tensor_value_info(_SWITCH + name, TensorProto.BOOL, []) for name in switches
    )
    graph.input.extend(
        helper.make_tensor_value_info(
            name, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape
        )
        for name, array in settings.items()
    )
    graph.initializer.extend(
        numpy_helper.from_array(array, name) for name, array in constants.items()
    )


def _choice(rounding: Rounding, node: Any, tensor: str, place: int) -> tuple[str, list[Any]]:
    """Rounding of one tensor and the Where behind it, all names made unique by node and place."""
    from onnx import helper

    answer = rounding(node, tensor, place >= 0)
    if answer is None:
        return "", []
    switch, added = answer[0], list(answer[1])
    mark = f"{node.name}:{place}:"
    made = {name for step in added for name in step.output}
    for step in added:
        step.name = mark + step.name
        for names in (step.input, step.output):
            for index, name in enumerate(names):
                if name in made:
                    names[index] = mark + name
    chosen = [_SWITCH + switch, added[-1].output[0], tensor]
    where = helper.make_node("Where", chosen, [mark + "chosen"], name=mark + "Where")
    return switch, [*added, where]


def _session(model: Any) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = openmp_threads() or 0  # 0: its own choice
    # many short runs: threads that wait busily would take the time of others
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # only what keeps the arithmetic as written: a folded rounding could not be switched
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    return onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
