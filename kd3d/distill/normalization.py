"""The student's batch as the teacher's preprocessor would have made it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mmengine.model import BaseDataPreprocessor, ImgDataPreprocessor
from torch import Tensor

from kd3d.errors import UserError
from kd3d.on_device import on_device


@dataclass(frozen=True)
class Normalization:
    """How a data preprocessor turns pixels into network input.

    Attributes:
        mean: per channel, in pixel values, in the order the network sees; or one of all channels.
        std: likewise.
        flips_channels: whether BGR and RGB are exchanged.
        pad_value: of the padding added after normalising.
        pad_divisor: height and width are padded to a multiple of it.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    flips_channels: bool
    pad_value: float
    pad_divisor: int

    @classmethod
    def of(cls, preprocessor: Any, *, owner: str) -> "Normalization":  # Any: an untyped module
        """Reads an image preprocessor of MMEngine or a class derived from it.

        Raises:
            UserError: a preprocessor of another kind; its normalisation is unknown to us.
        """
        if type(preprocessor) is BaseDataPreprocessor:
            return cls((0.0,), (1.0,), False, 0.0, 1)
        if not isinstance(preprocessor, ImgDataPreprocessor):
            raise UserError(
                f"{owner}: data_preprocessor {type(preprocessor).__name__} is not an image "
                "preprocessor of MMEngine, such as DetDataPreprocessor, so its images cannot be "
                "brought to the other's normalisation; distil the detector in a config of its own, "
                "outside of semi-supervised training or tracking"
            )
        normalizes = preprocessor._enable_normalize
        return cls(
            tuple(preprocessor.mean.flatten().tolist()) if normalizes else (0.0,),
            tuple(preprocessor.std.flatten().tolist()) if normalizes else (1.0,),
            bool(preprocessor._channel_conversion),
            float(preprocessor.pad_value),
            int(preprocessor.pad_size_divisor),
        )


class Renormalizer:
    """Maps the student's batch to the teacher's normalisation; the padding included.

    Args:
        student: how the batch was made.
        teacher: how the teacher wants it.

    Raises:
        UserError: the teacher needs coarser padding than the student's batch has.
    """

    def __init__(self, student: Normalization, teacher: Normalization) -> None:
        if student.pad_divisor % teacher.pad_divisor:
            raise UserError(
                f"the teacher pads to a multiple of {teacher.pad_divisor} px, the student to "
                f"{student.pad_divisor}; set pad_size_divisor={teacher.pad_divisor} in the "
                "student's data_preprocessor"
            )
        self.student, self.teacher = student, teacher
        self.is_identity = (student.mean, student.std, student.flips_channels) == (
            teacher.mean,
            teacher.std,
            teacher.flips_channels,
        ) and student.pad_value == teacher.pad_value

    def __call__(self, images: Tensor, samples: Sequence[Any]) -> Tensor:
        """Renormalises a batch.

        Args:
            images: (B, C, H, W) as the student's preprocessor gave it; not changed.
            samples: B data samples; ``img_shape`` (h, w) tells the image from the padding.

        Returns:
            (B, C, H, W) in the teacher's normalisation.
        """
        if self.is_identity:
            return images
        pixels = images * _column(self.student.std, images) + _column(self.student.mean, images)
        if self.student.flips_channels != self.teacher.flips_channels:
            pixels = pixels.flip(1)
        out = (pixels - _column(self.teacher.mean, images)) / _column(self.teacher.std, images)
        for image, sample in zip(out, samples, strict=True):
            height, width = sample.img_shape[:2]
            image[:, height:] = self.teacher.pad_value
            image[:, :, width:] = self.teacher.pad_value
        return out


def renormalizer_between(student: Any, teacher: Any) -> Renormalizer:  # Any: untyped modules
    """How images of one data preprocessor become those of another.

    Raises:
        UserError: one of the preprocessors cannot be understood.
    """
    return Renormalizer(
        Normalization.of(student, owner="student"), Normalization.of(teacher, owner="teacher")
    )


def _column(values: tuple[float, ...], like: Tensor) -> Tensor:
    return on_device(values, like.device, like.dtype).view(1, -1, 1, 1)
