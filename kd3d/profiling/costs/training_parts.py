"""What a distilled step does beside the student's own work, part by part."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from kd3d.distill.distiller import Distiller
from kd3d.distill.pair import Pair
from kd3d.distill.recorder import FeatureRecorder


def distillation_parts(
    distiller: Distiller, student: nn.Module, data: dict[str, Any]
) -> dict[str, Callable[[], object]]:
    """By name: the teacher's forward, and of each pair forward and backward to the student's tap.

    A pair with connectors is there twice: whole, and its connectors alone.

    Args:
        distiller: with its teacher and built connectors.
        student: gives the features; a detector like the distiller's, without hooks of its own.
        data: preprocessed ``inputs`` and ``data_samples``.
    """
    teacher = distiller.teacher
    assert teacher is not None, "the schedules have stopped"

    def forward() -> object:
        return teacher.features(data["inputs"], data["data_samples"])

    parts: dict[str, Callable[[], object]] = {"teacher forward": forward}
    values = _student_values(distiller, student, data)
    targets = teacher.features(data["inputs"], data["data_samples"])
    for pair in distiller.pairs:
        heads = (
            student.get_submodule(pair.student.module),
            teacher.model.get_submodule(pair.teacher.module),
        )
        value, target = values[pair.student], targets[pair.teacher]
        parts[f"pair {pair.name}"] = _whole(pair, value, target, heads)
        if pair.connectors:
            parts[f"connectors of {pair.name}"] = _connectors(pair, value, target)
    return parts


def _student_values(distiller: Distiller, student: nn.Module, data: dict[str, Any]) -> Any:
    recorder = FeatureRecorder(student, [pair.student for pair in distiller.pairs], owner="student")
    recorder.start()
    with torch.no_grad():
        student(**data, mode="loss")
    return {tap: _leaves(value) for tap, value in recorder.finish().items()}


def _whole(
    pair: Pair, value: Any, target: Any, heads: tuple[nn.Module, nn.Module]
) -> Callable[[], None]:
    def run() -> None:
        torch.autograd.backward(pair(_cleared(value), target, heads=heads, progress=0.0))

    return run


def _connectors(pair: Pair, value: Any, target: Any) -> Callable[[], None]:
    def run() -> None:
        levels = [value] if isinstance(value, Tensor) else value
        targets = [target] if isinstance(target, Tensor) else target
        joined = zip(pair.connectors, _cleared(levels), targets, strict=True)
        outputs = [c(s, t) for c, s, t in joined if not isinstance(c, nn.Identity)]
        torch.autograd.backward(outputs, [torch.ones_like(output) for output in outputs])

    return run


def _leaves(value: Any) -> Any:  # Any: any nesting of tensors
    if isinstance(value, Tensor):
        return value.detach().requires_grad_()
    return [_leaves(item) for item in value]


def _cleared(value: Any) -> Any:  # Any: any nesting of tensors
    """The same leaves without gradient, so that a repetition writes it and does not add."""
    if isinstance(value, Tensor):
        value.grad = None
        return value
    return [_cleared(item) for item in value]
