"""Whether a teacher's features of a flipped frame are its flipped features."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from kd3d.distill.recorder import tensors_in
from kd3d.distill.teacher import Teacher
from kd3d.distill.teacher_input import Inputs
from kd3d.errors import UserError

TOLERANCE = 0.01  # relative L2 distance; rounding to float16 makes 0.0005


@dataclass(frozen=True)
class Flip:
    """How a frame was flipped.

    Attributes:
        rows: along the rows of its maps (y of a BEV map).
        columns: along the columns (x of a BEV map).
        exact: whether that flips the network's input as a whole; an image that was padded moves
            against its padding.
    """

    rows: bool = False
    columns: bool = False
    exact: bool = True


def flip_of(sample: Any, inputs: Inputs) -> Flip:  # Any: a data sample
    """Reads what RandomFlip3D or RandomFlip noted.

    mmdet3d's "horizontal" flip in BEV mirrors y, which runs along rows, "vertical" mirrors x.
    """
    info = sample.metainfo
    if not isinstance(inputs, Tensor):
        return Flip(
            bool(info.get("pcd_horizontal_flip", False)), bool(info.get("pcd_vertical_flip", False))
        )
    exact = tuple(inputs.shape[-2:]) == tuple(info["img_shape"][:2])
    if not info.get("flip", False):
        return Flip(exact=exact)
    direction = info.get("flip_direction") or "horizontal"
    return Flip(
        direction in ("vertical", "diagonal"), direction in ("horizontal", "diagonal"), exact
    )


def flipped(value: Tensor, flip: Flip) -> Tensor:
    """A map (..., rows, columns) flipped; what has fewer axes than (C, rows, columns) is kept."""
    axes = [axis for axis, used in ((-2, flip.rows), (-1, flip.columns)) if used]
    return value.flip(axes) if axes and value.ndim >= 3 else value


def check_equivariance(
    teacher: Teacher, batch: Mapping[str, Any], flips: Sequence[Flip]
) -> dict[str, float]:
    """Compares features of the flipped batch with flipped features.

    Args:
        teacher: not cached.
        batch: ``inputs`` and ``data_samples``.
        flips: those that training draws.

    Returns:
        The largest relative distance of each tap, over its tensors and the flips.

    Raises:
        UserError: it is above :data:`TOLERANCE`.
    """
    inputs, samples = batch["inputs"], batch["data_samples"]
    straight = teacher.features(_unvoxelized(inputs), samples)
    found: dict[str, float] = {}
    for flip in flips:
        turned = teacher.features(_flipped_inputs(inputs, flip), samples)
        for tap, value in straight.items():
            distance = _distance(value, turned[tap], flip)
            found[tap.text] = max(found.get(tap.text, 0.0), distance)
    worst = max(found, key=lambda name: found[name], default="")
    if worst and not found[worst] <= TOLERANCE:
        raise UserError(
            f"cache: reuse_flips was asked for, but the teacher's {worst!r} of a flipped batch "
            f"differs by {100 * found[worst]:.1f} % from its flipped features (at most "
            f"{100 * TOLERANCE:g} % is allowed); set reuse_flips=False"
        )
    return found


def _distance(straight: Any, turned: Any, flip: Flip) -> float:
    """Of the worst tensor: a head's small one does not vanish beside its large ones."""
    distances = []
    for s, t in zip(tensors_in(straight), tensors_in(turned), strict=True):
        difference = (flipped(s, flip).float() - t.float()).norm()
        distances.append(difference / s.float().norm().clamp_min(1e-12))
    # Python's max passes NaN over, where nothing was compared
    return float(torch.stack(distances).nan_to_num(nan=torch.inf).max())


def _unvoxelized(inputs: Inputs) -> Inputs:
    if isinstance(inputs, Tensor):
        return inputs
    return {key: value for key, value in inputs.items() if key != "voxels"}


def _flipped_inputs(inputs: Inputs, flip: Flip) -> Inputs:
    if isinstance(inputs, Tensor):
        return flipped(inputs, flip)
    if "imgs" in inputs:
        raise UserError("cache: reuse_flips is for images alone or points alone; set it to False")
    turned = []
    for cloud in inputs["points"]:
        cloud = cloud.clone()
        cloud[:, 0] *= -1 if flip.columns else 1
        cloud[:, 1] *= -1 if flip.rows else 1
        turned.append(cloud)
    return {"points": turned}
