"""Frames made of nothing, for looking at a config where its data set is not.

Their pixels and points mean nothing; sizes, classes and types are what a pipeline gives, so pairs
of student and teacher, their connectors and gradients can be checked on them.
"""

from collections.abc import Sequence
from typing import Any

import torch

from kd3d.registry import DATASETS

_IMAGE_PX = 256
_OBJECTS = 4
_POINTS = 20000


@DATASETS.register_module()
class MadeUpFrames:
    """Frames after a pipeline: an image, or points, with a few boxes.

    Args:
        classes: how many a label may name.
        channels: of an image.
        extent: x y z x y z in metres of the points' range; None for images.
        point_features: values of a point.
        velocity: boxes have two more values, as nuScenes' do.
    """

    metainfo: dict[str, Any] = {}  # noqa: RUF012  (MMEngine asks a dataset for it)

    def __init__(
        self,
        classes: int,
        *,
        channels: int = 3,
        extent: Sequence[float] | None = None,
        point_features: int = 4,
        velocity: bool = False,
    ) -> None:
        self.classes, self.channels, self.extent = classes, channels, extent
        self.point_features, self.velocity = point_features, velocity

    def full_init(self) -> None:
        """There is nothing to load; MMEngine's wrappers ask for it."""

    def __len__(self) -> int:
        return 2

    def __getitem__(self, index: int) -> dict[str, Any]:
        """The same frame for the same index."""
        generator = torch.Generator().manual_seed(index)
        labels = torch.randint(self.classes, (_OBJECTS,), generator=generator)
        if self.extent is None:
            return self._image(labels, generator)
        return self._cloud(labels, generator, torch.tensor(self.extent))

    def _image(self, labels: torch.Tensor, generator: torch.Generator) -> dict[str, Any]:
        from mmdet.structures import DetDataSample
        from mmengine.structures import InstanceData

        low = torch.rand(_OBJECTS, 2, generator=generator) * _IMAGE_PX / 2
        size = 24 + torch.rand(_OBJECTS, 2, generator=generator) * _IMAGE_PX / 3
        objects = InstanceData(bboxes=torch.cat([low, low + size], 1), labels=labels)
        shape = (_IMAGE_PX, _IMAGE_PX)
        sample = DetDataSample(
            metainfo={"img_shape": shape, "ori_shape": shape, "scale_factor": (1.0, 1.0)}
        )
        sample.gt_instances = objects
        sample.ignored_instances = InstanceData(
            bboxes=torch.zeros(0, 4), labels=torch.zeros(0, dtype=torch.long)
        )
        pixels = torch.randint(256, (self.channels, *shape), generator=generator).to(torch.uint8)
        return {"inputs": pixels, "data_samples": sample}

    def _cloud(
        self, labels: torch.Tensor, generator: torch.Generator, extent: torch.Tensor
    ) -> dict[str, Any]:
        from mmdet3d.structures import Det3DDataSample, LiDARInstance3DBoxes
        from mmengine.structures import InstanceData

        low, span = extent[:3], extent[3:] - extent[:3]
        points = torch.rand(_POINTS, self.point_features, generator=generator)
        points[:, :3] = low + points[:, :3] * span
        middle = low + (0.2 + 0.6 * torch.rand(_OBJECTS, 3, generator=generator)) * span
        size = torch.tensor([[4.0, 1.8, 1.6]]).expand(_OBJECTS, 3)
        rest = torch.zeros(_OBJECTS, 3 if self.velocity else 1)
        boxes = torch.cat([middle, size, rest], 1)
        sample = Det3DDataSample(metainfo={"box_type_3d": LiDARInstance3DBoxes})
        sample.gt_instances_3d = InstanceData(
            bboxes_3d=LiDARInstance3DBoxes(boxes, box_dim=boxes.shape[1]), labels_3d=labels
        )
        return {"inputs": {"points": points}, "data_samples": sample}
