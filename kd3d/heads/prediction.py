"""What a dense head predicts, whatever its family."""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, eq=False)
class DensePrediction:
    """Decoded output of a dense head for B images at N positions (every prior of every level).

    Attributes:
        logits: (B, N, K) classification logits; (B, N, K + 1) with the background last where
            ``softmax`` is set.
        boxes: (B, N, 4) as x1 y1 x2 y2 in pixels of the network's input, not clipped to it.
        objectness: (B, N) logit whose sigmoid multiplies the class score (YOLOX's objectness, the
            centerness of FCOS and ATSS), or None for a head without one.
        softmax: whether the classes exclude each other; else each has its own sigmoid.
    """

    logits: Tensor
    boxes: Tensor
    objectness: Tensor | None = None
    softmax: bool = False

    def scores(self) -> Tensor:
        """(B, N, K) probabilities in [0, 1] as the detector's own NMS ranks them."""
        scores = self.logits.softmax(-1)[..., :-1] if self.softmax else self.logits.sigmoid()
        if self.objectness is None:
            return scores
        return scores * self.objectness.sigmoid().unsqueeze(-1)
