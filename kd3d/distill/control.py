"""The control twin: no teacher, the ground-truth losses made stronger by a factor."""

import math
import weakref
from collections.abc import Sequence
from typing import Any

from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from kd3d.errors import UserError
from kd3d.registry import HOOKS

LossValue = Tensor | list[Tensor]


def scaled_losses(
    losses: dict[str, LossValue], scale: float, terms: Sequence[str] | None = None
) -> dict[str, LossValue]:
    """Multiplies the named entries of a detector's loss dict.

    Args:
        losses: what ``model.loss()`` returns: scalars, or one scalar per level in a list.
            Entries without ``loss`` in their name are logged only, as in MMEngine.
        scale: factor, above 0.
        terms: names of entries; None for every loss.

    Returns:
        A new dict with the same keys in the same order.

    Raises:
        UserError: if a term is not a loss of this model.
    """
    present = [name for name in losses if "loss" in name]
    chosen = present if terms is None else list(terms)
    absent = [name for name in chosen if name not in present]
    if absent:
        raise UserError(
            f"GroundTruthScaleHook: the student has no loss {', '.join(map(repr, absent))}; "
            f"it has {', '.join(present) or 'none'}: name some of these in terms"
        )
    return {
        name: _times(value, scale) if name in chosen else value for name, value in losses.items()
    }


def _times(value: LossValue, scale: float) -> LossValue:
    return [item * scale for item in value] if isinstance(value, list) else value * scale


@HOOKS.register_module()
class GroundTruthScaleHook(Hook):
    """Multiplies task losses of the student during training, and logs the multiplied values.

    A gain of distillation may come from a stronger gradient alone. This hook gives a student
    without a teacher the same strength, so that the two can be told apart.

    The losses are met by a forward hook on the unwrapped model, registered for the time of
    training. It acts on that very module only: a copy made meanwhile (EMA) is left alone.
    """

    def __init__(self, scale: float, terms: Sequence[str] | None = None) -> None:
        """Keeps the setting.

        Args:
            scale: factor, above 0; 1 changes nothing.
            terms: names of losses, e.g. ``["loss_cls", "loss_bbox"]``; None for all of them.
        """
        if not (math.isfinite(scale) and scale > 0):
            raise UserError(f"GroundTruthScaleHook: scale is {scale}, expected a number above 0")
        self.scale = scale
        self.terms = None if terms is None else tuple(terms)
        self._handle: RemovableHandle | None = None

    def before_train(self, runner: Runner) -> None:
        """Attaches to the student."""
        student = runner.model.module if is_model_wrapper(runner.model) else runner.model
        self._handle = _attach(student, self.scale, self.terms)

    def after_train(self, runner: Runner) -> None:
        """Detaches from the student."""
        if self._handle is not None:
            self._handle.remove()
            self._handle = None


def _attach(student: nn.Module, scale: float, terms: tuple[str, ...] | None) -> RemovableHandle:
    # A weak reference in a plain function: deepcopy shares functions, so a copy of the student
    # carries this one, neither takes the student along nor passes for it.
    original = weakref.ref(student)

    def multiply(module: nn.Module, args: Any, kwargs: Any, output: Any) -> Any:  # torch's contract
        if module is not original() or kwargs.get("mode") != "loss":
            return None
        return scaled_losses(output, scale, terms)

    return student.register_forward_hook(multiply, with_kwargs=True)
