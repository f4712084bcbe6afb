"""The least that a teacher costs: its forward to the last tap, without anything of kd3d's core."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from kd3d.errors import UserError

STAGES = ("backbone", "neck", "bbox_head")


@torch.no_grad()
def forward_to(teacher: nn.Module, images: Tensor, last: str) -> Any:  # Any: a stage's output
    """Runs a detector's stages one after the other.

    Args:
        teacher: has some of STAGES.
        images: (B, 3, H, W), preprocessed.
        last: the stage to end with.
    """
    value: Any = images
    for stage in STAGES[: STAGES.index(last) + 1]:
        if hasattr(teacher, stage):
            value = teacher.get_submodule(stage)(value)
    return value


def last_stage(taps: Iterable[str]) -> str:
    """The stage in which the last of the taps lies.

    Raises:
        UserError: a tap lies in none of STAGES.
    """
    found = set()
    for tap in taps:
        stage = tap.replace("[", ".").partition(".")[0]
        if stage not in STAGES:
            raise UserError(
                f"teacher tap {tap!r}: the cost is measured for taps in {', '.join(STAGES)} only"
            )
        found.add(STAGES.index(stage))
    return STAGES[max(found)]
