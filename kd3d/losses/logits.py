"""Temperature KL of classification logits: exclusive classes, or one sigmoid each."""

import torch.nn.functional as F
from torch import Tensor, nn

from kd3d.errors import UserError
from kd3d.losses.arguments import expect_equal_shapes, expect_temperature
from kd3d.losses.precision import in_float32
from kd3d.registry import LOSSES


def bernoulli_kl(student: Tensor, teacher: Tensor) -> Tensor:
    """KL(teacher || student) of yes-no probabilities, element by element, from their logits.

    With q the teacher's probability, s and t the logits:
    ``logsigmoid(t) - logsigmoid(s) + (1 - q) * (s - t)``, which is exactly 0 for s = t.

    Args:
        student: logits of any shape, in float32.
        teacher: the same shape, the target; no gradient flows into it.
    """
    teacher = teacher.detach()
    surprise = F.logsigmoid(teacher) - F.logsigmoid(student)
    return surprise + (-teacher).sigmoid() * (student - teacher)


def softmax_kl(student: Tensor, teacher: Tensor, class_axis: int) -> Tensor:
    """KL(teacher || student) over the classes, from logits; the class axis is summed away."""
    log_p = student.log_softmax(class_axis)
    log_q = teacher.detach().log_softmax(class_axis)
    return F.kl_div(log_p, log_q, reduction="none", log_target=True).sum(class_axis)


@in_float32
def softmax_divergence(
    student: Tensor, teacher: Tensor, temperature: float = 1.0, class_axis: int = 1
) -> Tensor:
    """KL divergence of softened class distributions (Hinton et al., 2015).

    Args:
        student: (B, K, ...) logits of a softmax head, with K on ``class_axis``.
        teacher: the same shape, the target; no gradient flows into it.
        temperature: above 0; the result is scaled by its square.
        class_axis: axis of the classes; not 0, which is the batch.

    Returns:
        Scalar, summed over classes, averaged over B and positions; 0 for an empty tensor.

    Raises:
        UserError: if the shapes differ or there is no such axis.
    """
    expect_equal_shapes(student, teacher)
    expect_temperature(temperature)
    axis = class_axis + student.dim() if class_axis < 0 else class_axis
    if not 0 < axis < student.dim():
        raise UserError(
            f"expected the class axis within (B, ...) and behind B, got class_axis={class_axis} "
            f"for logits {tuple(student.shape)}"
        )
    divergence = softmax_kl(student / temperature, teacher / temperature, axis)
    return divergence.sum() / max(divergence.numel(), 1) * temperature**2


@in_float32
def sigmoid_divergence(student: Tensor, teacher: Tensor, temperature: float = 1.0) -> Tensor:
    """KL divergence of softened yes-no probabilities, one for each class and position.

    Over all positions of a dense head the mean is mostly background; see ``dense_response`` for a
    loss that is normalised by what the teacher found.

    Args:
        student: (B, ...) logits of a sigmoid head.
        teacher: the same shape, the target; no gradient flows into it.
        temperature: above 0; the result is scaled by its square.

    Returns:
        Scalar, averaged over all elements; 0 for an empty tensor.

    Raises:
        UserError: if the shapes differ.
    """
    expect_equal_shapes(student, teacher)
    expect_temperature(temperature)
    divergence = bernoulli_kl(student / temperature, teacher / temperature)
    return divergence.sum() / max(divergence.numel(), 1) * temperature**2


@LOSSES.register_module()
class SoftmaxDivergence(nn.Module):
    """See ``softmax_divergence``.

    Args:
        temperature: above 0, used where the call gives none.
        class_axis: axis of the classes.
    """

    def __init__(self, temperature: float = 1.0, class_axis: int = 1) -> None:
        super().__init__()
        expect_temperature(temperature)
        self.temperature = temperature
        self.class_axis = class_axis

    def forward(
        self, student: Tensor, teacher: Tensor, *, temperature: float | None = None
    ) -> Tensor:
        """Scalar loss of two tensors of logits."""
        chosen = self.temperature if temperature is None else temperature
        return softmax_divergence(student, teacher, chosen, self.class_axis)


@LOSSES.register_module()
class SigmoidDivergence(nn.Module):
    """See ``sigmoid_divergence``.

    Args:
        temperature: above 0, used where the call gives none.
    """

    def __init__(self, temperature: float = 1.0) -> None:
        super().__init__()
        expect_temperature(temperature)
        self.temperature = temperature

    def forward(
        self, student: Tensor, teacher: Tensor, *, temperature: float | None = None
    ) -> Tensor:
        """Scalar loss of two tensors of logits."""
        chosen = self.temperature if temperature is None else temperature
        return sigmoid_divergence(student, teacher, chosen)
