"""The student's batch as the teacher's own preprocessor would have made it."""

import copy
from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from kd3d.distill.normalization import renormalizer_between
from kd3d.errors import UserError

Inputs = Any  # (B, C, H, W) images, or mmdet3d's dict of points, voxels and imgs

# What decides which voxel a point falls into, and how many points it may hold.
_VOXEL_SETTINGS = ("point_cloud_range", "voxel_size", "max_num_points", "deterministic")


class TeacherInput:
    """Maps the network input of the student to that of the teacher.

    Images are renormalised. Points are voxelised anew by the teacher's preprocessor, because in
    mmdet3d the voxels of a batch are the student's; they are kept where both make the same.

    Args:
        student: data preprocessor of the student.
        teacher: data preprocessor of the teacher, in eval mode.

    Raises:
        UserError: the teacher reads points and the student's batches hold none, or their
            normalisations of images cannot be joined.
    """

    def __init__(self, student: Any, teacher: Any) -> None:  # Any: untyped modules
        self._student, self._teacher = student, teacher
        if _reads_points(teacher) and not _is_mmdet3d(student):
            raise UserError(
                f"the teacher reads points, the student's {type(student).__name__} has none; "
                "give a teacher that reads images"
            )
        self._same_voxels = same_voxel_settings(student, teacher)
        # where both read points there may be no images, and no normalisation that matters
        self._renormalizer = (
            None if _reads_points(student) else renormalizer_between(student, teacher)
        )

    def __call__(self, inputs: Inputs, samples: Sequence[Any]) -> Inputs:
        """Makes the teacher's input; the student's is not changed, nor shared where it could be.

        Args:
            inputs: (B, C, H, W) images, or a dict with ``points`` (B tensors (P, C)), ``voxels``
                and ``imgs`` (B, C, H, W) or (B, V, C, H, W) as far as the student has them.
            samples: B data samples.

        Raises:
            UserError: the teacher reads points or images and the batch has none, or the
                normalisations of images cannot be joined.
        """
        if isinstance(inputs, Tensor):
            images = self._images(inputs, samples)
            return {"imgs": images} if _is_mmdet3d(self._teacher) else images
        if not inputs.keys() & {"points", "imgs"}:
            raise UserError(
                f"the student's batch holds {sorted(inputs)}, expected images, or 'points' and "
                "'imgs'; distil a detector of single frames, before it is trained to track"
            )
        if "imgs" not in inputs and _reads_images(self._teacher):
            raise UserError(
                f"the teacher reads images, the student's batch has {sorted(inputs)}; load images "
                "in the student's pipeline and add 'img' to the keys of its Pack3DDetInputs"
            )
        if not _is_mmdet3d(self._teacher):
            return self._images(inputs["imgs"], samples)
        made: dict[str, Any] = {}
        if "points" in inputs:
            made["points"] = inputs["points"]
        if _reads_points(self._teacher):
            if "points" not in inputs:
                raise UserError(
                    f"the teacher reads points, the student's batch has {sorted(inputs)}; keep "
                    "'points' among the keys of its Pack3DDetInputs"
                )
            made["voxels"] = self._voxels(inputs, samples)
        if "imgs" in inputs:
            made["imgs"] = self._images(inputs["imgs"], samples)
        return made

    def _images(self, images: Tensor, samples: Sequence[Any]) -> Tensor:
        if self._renormalizer is None:
            self._renormalizer = renormalizer_between(self._student, self._teacher)
        if images.ndim == 5:
            each = [view for sample in samples for view in _views(sample, images.shape[1])]
            return self._renormalizer(images.flatten(0, 1), each).view_as(images)
        return self._renormalizer(images, samples)

    def _voxels(self, inputs: Mapping[str, Any], samples: Sequence[Any]) -> dict[str, Tensor]:
        own = inputs.get("voxels")
        if own is not None and self._same_voxels and self._all_kept(own):
            # some encoders (PillarFeatureNet with legacy=True) write into them
            return {key: value.clone() for key, value in own.items()}
        if self._teacher.voxel_type not in ("hard", "dynamic"):
            samples = copy.deepcopy(list(samples))  # in which others note labels of their voxels
        voxels: dict[str, Tensor] = self._teacher.voxelize(inputs["points"], samples)
        return voxels

    def _all_kept(self, voxels: Mapping[str, Tensor]) -> bool:
        """Whether neither model's limit of voxels cut any frame: the limits often differ."""
        train, test = self._student.voxel_layer.max_voxels[0], self._teacher.voxel_layer.max_voxels
        limit = min(train, test[1])
        if limit < 0 or train == test[1]:
            return True
        counts = torch.bincount(voxels["coors"][:, 0].long())
        return bool((counts < limit).all())


def same_voxel_settings(student: Any, teacher: Any) -> bool:
    """Whether two preprocessors put every point into the same voxel."""
    layers = [getattr(owner, "voxel_layer", None) for owner in (student, teacher)]
    if None in layers or getattr(student, "voxel_type", 0) != getattr(teacher, "voxel_type", 1):
        return False
    one, other = ([_plain(getattr(layer, key)) for key in _VOXEL_SETTINGS] for layer in layers)
    return one == other


def _views(sample: Any, count: int) -> list[Any]:
    """A sample for each view; mmdet3d's MultiViewWrapper notes a list of shapes."""
    shapes = sample.img_shape
    if not isinstance(shapes[0], Sequence):
        return [sample] * count
    return [SimpleNamespace(img_shape=shape) for shape in shapes]


def _is_mmdet3d(preprocessor: Any) -> bool:
    """Whether it makes a dict of inputs, for detectors of mmdet3d, or a tensor."""
    return hasattr(preprocessor, "voxel")


def _reads_points(preprocessor: Any) -> bool:
    return bool(getattr(preprocessor, "voxel", False))


def _reads_images(preprocessor: Any) -> bool:
    """Of points alone, nothing is normalised."""
    return not _is_mmdet3d(preprocessor) or bool(preprocessor._enable_normalize)


def _plain(value: Any) -> Any:
    return [float(item) for item in value] if isinstance(value, list | tuple | Tensor) else value
