"""Hooks around a student's task loss, for what changes its samples or its losses."""

import weakref
from collections.abc import Sequence
from typing import Any, Protocol

from torch import nn
from torch.utils.hooks import RemovableHandle

Losses = dict[str, Any]  # Any: mmdet gives tensors and lists of tensors


class AroundLoss(Protocol):
    """What is called before and after every forward of its student in "loss" mode."""

    student: nn.Module

    def before_forward(self, inputs: Any, samples: Sequence[Any]) -> Sequence[Any]:
        """Returns the samples that the student's task loss reads."""

    def after_forward(self, losses: Losses | None) -> Losses | None:
        """Takes None after an error; returns None to leave the student's losses as they are."""


def hook_loss(owner: AroundLoss, *, first_after: bool = False) -> list[RemovableHandle]:
    """Registers two forward hooks on the owner's student.

    They are plain closures over a weak reference. A deepcopy of the student shares them (functions
    are not copied) and they do nothing for it, so a copy never carries the owner.

    Args:
        owner: of the student; the bare detector, not its DDP wrapper.
        first_after: ``after_forward`` is called before that of all others there.
    """
    reference = weakref.ref(owner)

    def owner_of(module: nn.Module, args: Any, kwargs: Any) -> AroundLoss | None:
        owner = reference()
        mode = kwargs.get("mode", args[2] if len(args) > 2 else "tensor")
        if owner is None or module is not owner.student or mode != "loss":
            return None
        return owner

    def before(module: nn.Module, args: Any, kwargs: Any) -> Any:
        owner = owner_of(module, args, kwargs)
        if owner is None:
            return None
        inputs = kwargs["inputs"] if "inputs" in kwargs else args[0]
        if "data_samples" in kwargs:
            samples = owner.before_forward(inputs, kwargs["data_samples"])
            return args, {**kwargs, "data_samples": samples}
        return (args[0], owner.before_forward(inputs, args[1]), *args[2:]), kwargs

    def after(module: nn.Module, args: Any, kwargs: Any, output: Any) -> Losses | None:
        owner = owner_of(module, args, kwargs)
        return None if owner is None else owner.after_forward(output)

    student = owner.student
    return [
        student.register_forward_pre_hook(before, with_kwargs=True),
        student.register_forward_hook(
            after, with_kwargs=True, always_call=True, prepend=first_after
        ),
    ]
