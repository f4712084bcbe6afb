"""Connectors that change the spatial size."""

import torch.nn.functional as F
from torch import Tensor, nn

from kd3d.connectors.channels import Conv1x1
from kd3d.registry import CONNECTORS


@CONNECTORS.register_module()
class Resize(nn.Module):
    """Bilinear interpolation to the teacher's rows and columns, taken anew at every call.

    Pixel centres are aligned (``align_corners=False``), as in images of two resolutions. Without
    smoothing: made smaller by more than 2, it skips positions.
    """

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        """(B, C, H, W) to (B, C, H', W') with H', W' the last two axes of the teacher's feature."""
        rows, columns = teacher.shape[-2:]
        return F.interpolate(student, size=(rows, columns), mode="bilinear", align_corners=False)


@CONNECTORS.register_module()
class Conv1x1Resize(nn.Module):
    """``Conv1x1``, then ``Resize``.

    Args:
        in_channels: of the student.
        out_channels: of the teacher.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.channels = Conv1x1(in_channels, out_channels)
        self.size = Resize()

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        """(B, in_channels, H, W) to (B, out_channels, H', W') of the teacher's rows and columns."""
        resized: Tensor = self.size(self.channels(student, teacher), teacher)
        return resized
