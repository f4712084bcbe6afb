"""Which frames of a batch a pair compares: all, or those of which somebody says what is there."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from kd3d.distill.labelled_frames import selected_frames
from kd3d.distill.recorder import tensors_in
from kd3d.distill.truth import Truth
from kd3d.on_device import on_device


def labelled_frames_only(pairs: Sequence[Any]) -> list[str]:  # Any: Pair, circular
    """What to say of pairs that read boxes, where frames have none and the teacher adds none."""
    return [
        f"pair {pair.name!r} reads boxes, so it leaves frames without labels out; let the "
        "teacher's boxes be theirs: additional_labels=dict(teacher=..., unlabelled=True)"
        for pair in pairs
        if pair.needs_boxes
    ]


@dataclass(frozen=True, eq=False)
class KnownFrames:
    """Leaves out the frames of unknown boxes, so that they weigh nothing in a mean.

    Where no frame is known, all are kept and the loss is multiplied by 0: connectors take part in
    the graph at every step, as DDP wants it.

    Attributes:
        truth: of the batch; None keeps all frames.
        where: named in errors.
    """

    truth: Truth | None
    where: str

    @property
    def none(self) -> bool:
        """Whether not one frame is known."""
        return self.truth is not None and len(self.truth.unknown) == len(self.truth.boxes)

    def of(self, value: Any) -> Any:
        """What is compared of a value, nested and by frame; the value itself where that is all.

        Raises:
            UserError: a tensor is not by frame.
        """
        truth = self.truth
        if truth is None or not truth.unknown or self.none:
            return value
        index = on_device(truth.known, tensors_in(value)[0].device)
        return selected_frames(value, index, len(truth.boxes), self.where)

    def named(self, truth: Truth) -> dict[str, list[Tensor] | Tensor]:
        """``boxes``, ``labels`` and ``labelled`` of what is compared."""
        cut = self.truth is not None and truth.unknown and not self.none
        return (truth.of_known() if cut else truth).named()
