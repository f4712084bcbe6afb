"""Checks of what a loss is given, with messages that say what to do."""

from torch import Tensor

from kd3d.bev_grid import BevGrid
from kd3d.errors import UserError


def expect_equal_shapes(student: Tensor, teacher: Tensor) -> None:
    """Raises UserError with both shapes if they differ."""
    if student.shape != teacher.shape:
        raise UserError(
            f"expected equal shapes, got student {tuple(student.shape)} and teacher "
            f"{tuple(teacher.shape)}; add a connector to the pair"
        )


def expect_map(feature: Tensor) -> None:
    """Raises UserError unless it is (B, C, ...) with at least one spatial axis."""
    if feature.dim() < 3:
        raise UserError(
            f"expected a feature map (B, C, H, W), got {tuple(feature.shape)}; "
            "tap a map, or use FeatureL2, which takes any shape"
        )


def expect_equal_maps(student: Tensor, teacher: Tensor) -> None:
    """Raises UserError unless both are maps (B, C, ...) of one shape."""
    expect_equal_shapes(student, teacher)
    expect_map(student)


def expect_temperature(temperature: float) -> None:
    """Raises UserError unless the temperature is above zero."""
    if not temperature > 0:
        raise UserError(f"expected a temperature above 0, got {temperature}")


def expect_gamma(gamma: float) -> None:
    """Raises UserError for a focusing exponent whose slope at agreement is infinite."""
    if gamma != 0 and not gamma >= 1:
        raise UserError(f"expected gamma 0 or at least 1, got {gamma}")


def expect_grids(
    student: BevGrid | None, teacher: BevGrid | None, owner: str
) -> tuple[BevGrid, BevGrid]:
    """Both grids of a pair of BEV maps; raises UserError for images."""
    if student is None or teacher is None:
        raise UserError(
            f"{owner} reads BEV maps by metres, but a model of the pair has no point_cloud_range; "
            "use it with 3D detectors on BEV taps"
        )
    return student, teacher
