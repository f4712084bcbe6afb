"""Detection data made of noise, for measurements that need no images."""

from typing import Any

import torch
from mmdet.structures import DetDataSample
from mmengine.structures import InstanceData
from torch.utils.data import Dataset

_BOXES = 4


class SyntheticDetections(Dataset[dict[str, Any]]):
    """Images of noise, each with four boxes of class 0, as mmdet's pipelines pack them.

    Args:
        images: how many.
        size_px: height and width.
    """

    def __init__(self, images: int, size_px: int) -> None:
        self.images, self.size_px = images, size_px

    def __len__(self) -> int:
        return self.images

    def __getitem__(self, index: int) -> dict[str, Any]:
        """``inputs`` (3, H, W) uint8 and ``data_samples``; the same at every call."""
        size = self.size_px
        generator = torch.Generator().manual_seed(index)
        corners = torch.rand(_BOXES, 2, generator=generator) * size / 2
        sides = (0.1 + 0.4 * torch.rand(_BOXES, 2, generator=generator)) * size
        shape = {"img_shape": (size, size), "ori_shape": (size, size), "scale_factor": (1.0, 1.0)}
        sample = DetDataSample(metainfo=shape)
        sample.gt_instances = InstanceData(
            bboxes=torch.cat([corners, corners + sides], 1),
            labels=torch.zeros(_BOXES, dtype=torch.long),
        )
        sample.ignored_instances = InstanceData(bboxes=torch.zeros(0, 4))
        image = torch.randint(0, 256, (3, size, size), generator=generator, dtype=torch.uint8)
        return {"inputs": image, "data_samples": sample}
