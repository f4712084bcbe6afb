"""The response of a CenterHead: its class heatmaps, and the boxes at the teacher's peaks."""

from dataclasses import replace
from functools import partial

import torch
from torch import Tensor, nn

from kd3d.bev_grid import BevGrid
from kd3d.bev_sampling import covered, resample, same_grid
from kd3d.errors import UserError
from kd3d.heads.center import CenterPrediction, Peaks
from kd3d.losses.arguments import expect_gamma, expect_temperature
from kd3d.losses.logits import bernoulli_kl
from kd3d.losses.precision import in_float32
from kd3d.on_device import on_device
from kd3d.registry import LOSSES

PEAK_SCORE = 0.1  # CenterPoint's usual score threshold: below it the detector reports nothing
_SCORE_MARGIN = 1e-6  # a score that saturates to 1 has no finite logit
# As CenterPoint weighs its regression targets: velocities count a fifth.
CODE_WEIGHTS = (1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.2, 0.2)


@in_float32
def heatmap_response(
    student: CenterPrediction,
    teacher: CenterPrediction,
    *,
    cls_weight: float = 1.0,
    box_weight: float = 1.0,
    gamma: float = 1.0,
    peaks: int = 50,
    pivotal: int | None = None,
    temperature: float = 1.0,
) -> Tensor:
    """Class heatmaps and boxes of a CenterHead, each normalised by what the teacher found.

    - classes: KL(teacher || student) of every cell and class, each term times
      ``|p_teacher - p_student| ** gamma`` (as the quality focal loss, Li et al., 2020), so that
      the many cells of background, where both say nothing, have no say. The sum of a frame is
      divided by the teacher's heat: the sum of its scores above ``PEAK_SCORE``; at least 1.
    - boxes: L1 of centre, size (logarithm), sine and cosine of yaw, and velocity, in metres and as
      the head predicts them, weighted by ``CODE_WEIGHTS`` and by the teacher's score, at its
      ``peaks`` highest local maxima of each class above ``PEAK_SCORE``. The student's box is the
      one of the cell that holds the teacher's centre, which is where labels train it. The sum of a
      frame is divided by the sum of those scores; at least 1.

    With ``pivotal`` the classes are compared only where the teacher is most sure, the pivotal
    positions of Yang et al. (2022, SparseKD), who distil classes and boxes there and nowhere else.
    By default we compare all cells, so that a student unlearns what it alone sees, and always take
    boxes at peaks, where alone a CenterHead is trained to predict them.

    The grids may differ: the teacher's heatmap is brought to the student's cells by metres. Larger
    cells take the highest logit within, smaller ones are interpolated; then each of the teacher's
    peaks is painted into the student's cell that holds its box's centre, so that interpolation
    lowers none. Cells outside of the teacher's range have no say. Tasks may be grouped differently:
    classes are matched by name, and classes that the teacher has in addition are left out.

    Args:
        student: prediction for B frames.
        teacher: prediction for the same frames, the target; no gradient flows into it.
        cls_weight: of the classes.
        box_weight: of the boxes.
        gamma: focusing exponent: 0 (none), or at least 1.
        peaks: boxes a class at most.
        pivotal: cells a frame whose classes are compared; None for all.
        temperature: above 0; softens the class probabilities, and their term is scaled by its
            square. Heat, peaks and boxes do not depend on it.

    Returns:
        Scalar, averaged over B.

    Raises:
        UserError: if a class of the student is missing in the teacher, or frames differ.
    """
    expect_temperature(temperature)
    expect_gamma(gamma)
    order = on_device(_teacher_classes(student, teacher), teacher.logits.device)
    teacher = replace(
        teacher, logits=teacher.logits.detach(), regression=teacher.regression.detach()
    )
    found = teacher.peaks(peaks)
    found = Peaks(found.scores[:, order], found.rows[:, order], found.columns[:, order])
    codes, frames, classes, cells = _peak_boxes(teacher, found, order, student.grid)
    held = student.grid.contains(codes[:, :2]) & (found.scores.flatten() > PEAK_SCORE)
    weight = torch.where(held, found.scores.flatten(), 0.0)
    target = teacher.logits[:, order]
    if not same_grid(student.grid, teacher.grid):
        target = resample(target, teacher.grid, student.grid, reduce="max")
        target = _painted(target, frames, classes, cells, weight)
    seen = covered(teacher.grid, student.grid, target.device)
    scores = target.sigmoid() * seen
    heat = torch.where(scores > PEAK_SCORE, scores, 0.0).flatten(1).sum(1).clamp(min=1)
    if pivotal is not None:
        seen = seen * _highest(scores, pivotal)
    divergence = _divergence(student.logits, target, gamma, temperature) * seen
    answer = student.codes_at(frames, classes, *_within(cells, student.grid))
    code_weights = on_device(_code_weights(student, teacher), codes.device)
    apart = ((answer - codes).abs() * code_weights).sum(1) * weight
    boxes = _by_frame(apart, student) / _by_frame(weight, student).clamp(min=1)
    return (cls_weight * divergence.flatten(1).sum(1) / heat + box_weight * boxes).mean()


def _teacher_classes(student: CenterPrediction, teacher: CenterPrediction) -> list[int]:
    """For each class of the student its index in the teacher."""
    shapes = [tuple(prediction.logits.shape) for prediction in (student, teacher)]
    if shapes[0][0] != shapes[1][0]:
        raise UserError(
            f"expected equal shapes, got student {shapes[0]} and teacher {shapes[1]} heatmaps; "
            "both must see the same frames"
        )
    missing = [name for name in student.class_names if name not in teacher.class_names]
    if missing:
        raise UserError(
            f"expected a teacher that knows the student's classes, but it has no {missing} among "
            f"{list(teacher.class_names)}; use the same class names in both heads' tasks"
        )
    return [teacher.class_names.index(name) for name in student.class_names]


def _peak_boxes(
    teacher: CenterPrediction, found: Peaks, order: Tensor, grid: BevGrid
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Codes (P, 10), frame, student's class, and cell (P, 2) of ``grid`` of every peak."""
    frames, classes, rows, columns = found.places()
    codes = teacher.codes_at(frames, order[classes], rows, columns)
    return codes, frames, classes, grid.cell_of(codes[:, :2]).floor().long()


def _within(cells: Tensor, grid: BevGrid) -> tuple[Tensor, Tensor]:
    """Rows and columns, moved into the grid; what lay outside has weight 0."""
    return cells[:, 0].clamp(0, grid.rows - 1), cells[:, 1].clamp(0, grid.columns - 1)


def _painted(
    target: Tensor, frames: Tensor, classes: Tensor, cells: Tensor, scores: Tensor
) -> Tensor:
    """Logits (B, K, H, W), at least those of ``scores`` at the given cells; score 0 is nothing."""
    count, rows, columns = target.shape[1:]
    row, column = cells[:, 0].clamp(0, rows - 1), cells[:, 1].clamp(0, columns - 1)
    place = ((frames * count + classes) * rows + row) * columns + column
    logits = torch.where(scores > 0, scores.logit(eps=_SCORE_MARGIN), -torch.inf)
    flat = target.flatten().scatter_reduce(0, place, logits, reduce="amax")
    return flat.view_as(target)


def _highest(scores: Tensor, count: int) -> Tensor:
    """(B, 1, H, W): 1 at the ``count`` cells of each frame with the highest score of any class."""
    best = scores.amax(1, keepdim=True)
    flat = best.flatten(1)
    least = flat.topk(min(count, flat.shape[1]), dim=1).values[:, -1]
    return (best >= least[:, None, None, None]).float()


def _divergence(student: Tensor, teacher: Tensor, gamma: float, temperature: float) -> Tensor:
    s, t = student / temperature, teacher / temperature
    focus = (s.sigmoid() - t.sigmoid()).abs() ** gamma
    return bernoulli_kl(s, t) * focus * temperature**2


def _code_weights(student: CenterPrediction, teacher: CenterPrediction) -> tuple[float, ...]:
    """Of the codes that both heads predict, 0 of the others."""
    both = student.has_velocity and teacher.has_velocity
    return CODE_WEIGHTS if both else (*CODE_WEIGHTS[:8], 0.0, 0.0)


def _by_frame(value: Tensor, student: CenterPrediction) -> Tensor:
    """(P,) of all frames to the sum of each, (B,)."""
    return value.view(len(student.logits), -1).sum(1)


@LOSSES.register_module()
class HeatmapResponse(nn.Module):
    """See ``heatmap_response``.

    Args:
        cls_weight: of the classes.
        box_weight: of the boxes.
        gamma: focusing exponent of the classes: 0 (none), or at least 1.
        peaks: boxes a class at most.
        pivotal: cells a frame whose classes are compared; None for all.
        temperature: above 0, used where the call gives none.
    """

    needs_prediction = True
    matches_names = True

    def __init__(
        self,
        *,
        cls_weight: float = 1.0,
        box_weight: float = 1.0,
        gamma: float = 1.0,
        peaks: int = 50,
        pivotal: int | None = None,
        temperature: float = 1.0,
    ) -> None:
        super().__init__()
        expect_temperature(temperature)
        expect_gamma(gamma)
        self._loss = partial(
            heatmap_response,
            cls_weight=cls_weight,
            box_weight=box_weight,
            gamma=gamma,
            peaks=peaks,
            pivotal=pivotal,
        )
        self.temperature = temperature

    def forward(
        self,
        student: CenterPrediction,
        teacher: CenterPrediction,
        *,
        temperature: float | None = None,
    ) -> Tensor:
        """Scalar loss of two predictions."""
        chosen = self.temperature if temperature is None else temperature
        return self._loss(student, teacher, temperature=chosen)
