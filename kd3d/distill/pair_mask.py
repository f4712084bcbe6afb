"""The mask of a pair: where its loss looks, on the teacher's grid."""

import inspect
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from kd3d.distill.recorder import Tap
from kd3d.errors import UserError


class PairMask:
    """A registered mask and the teacher's head it is guided by.

    Args:
        module: its ``forward`` names what it reads: ``boxes, labels, labelled, teacher_grid,
            prediction, shape``.
        teacher: tap on the teacher's head, for a module with ``needs_prediction``; else None.

    Raises:
        UserError: the module needs a prediction and there is no tap, or the other way round.
    """

    def __init__(self, module: nn.Module, teacher: Tap | None, *, where: str) -> None:
        needed = bool(getattr(module, "needs_prediction", False))
        if needed != (teacher is not None):
            received = "no tap" if teacher is None else f"the tap {teacher.text!r}"
            raise UserError(
                f"{where}: {type(module).__name__} "
                + ("reads the teacher's head" if needed else "does not read the teacher's head")
                + f", got {received}; "
                + ("add teacher='pts_bbox_head'" if needed else "remove teacher")
            )
        self.module, self.teacher = module, teacher
        self.wanted = set(inspect.signature(module.forward).parameters)

    @property
    def text(self) -> str:
        """Its type, and the teacher's head where it reads one."""
        guide = "" if self.teacher is None else f", from the teacher's {self.teacher.text}"
        return type(self.module).__name__ + guide

    @torch.no_grad()
    def __call__(self, like: Tensor, named: Mapping[str, Any], guide: Any) -> Tensor:
        """Weights of one level.

        Args:
            like: (B, C, H, W), the teacher's map that is compared.
            named: what the module may ask for.
            guide: the teacher's decoded head, or None.

        Returns:
            (B, 1, H, W), at least 0.
        """
        shape = (int(like.shape[-2]), int(like.shape[-1]))
        offered = {**named, "shape": shape, "prediction": guide}
        chosen = {name: value for name, value in offered.items() if name in self.wanted}
        weights: Tensor = self.module(**chosen)
        return weights.to(like.device)
