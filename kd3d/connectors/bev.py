"""The connector of BEV maps that differ in range, cell size or stride: joined by metres."""

import torch
from torch import Tensor, nn

from kd3d.bev_grid import BevGrid
from kd3d.bev_sampling import covered, resample
from kd3d.connectors.channels import Conv1x1
from kd3d.registry import CONNECTORS


@CONNECTORS.register_module()
class BevAlign(nn.Module):
    """``Conv1x1`` where channels differ, then resampling to the teacher's cells by metres.

    A cell of the result holds what the student has at the same place in the world, whatever the
    voxel size, range and stride of either model. Larger cells of the teacher get the area average
    of the student's (see ``kd3d.bev_sampling.resample``), smaller ones are interpolated. Beyond
    the student's range its border is continued, so a loss leaves those cells out: see ``inside``.

    Args:
        in_channels: of the student.
        out_channels: of the teacher.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        equal = in_channels == out_channels
        self.channels = nn.Identity() if equal else Conv1x1(in_channels, out_channels)

    def forward(
        self, student: Tensor, teacher: Tensor, *, student_grid: BevGrid, teacher_grid: BevGrid
    ) -> Tensor:
        """(B, in_channels, H, W) to (B, out_channels, H', W') of the teacher's grid."""
        if isinstance(self.channels, Conv1x1):
            student = self.channels(student, teacher)
        return resample(student, student_grid, teacher_grid)

    @staticmethod
    def inside(
        student_grid: BevGrid, teacher_grid: BevGrid, device: torch.device | None = None
    ) -> Tensor:
        """(1, 1, H', W') of the teacher's grid: 1 where the student's range holds the centre."""
        return covered(student_grid, teacher_grid, device)
