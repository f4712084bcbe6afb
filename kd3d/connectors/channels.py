"""Connectors that change the number of channels."""

from torch import Tensor, nn

from kd3d.registry import CONNECTORS


@CONNECTORS.register_module()
class Conv1x1(nn.Module):
    """1x1 convolution with bias from the student's to the teacher's channels.

    Weights start normal with variance ``1 / in_channels``, so that the output varies as much as
    the input (He et al., 2015, without a rectifier), and the bias starts at 0.

    Args:
        in_channels: of the student.
        out_channels: of the teacher.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.projection = nn.Conv2d(in_channels, out_channels, kernel_size=1)
        _keep_variance(self.projection)

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        """(B, in_channels, H, W) to (B, out_channels, H, W); the teacher's feature is not used."""
        projected: Tensor = self.projection(student)
        return projected


@CONNECTORS.register_module()
class Linear(nn.Module):
    """Linear layer with bias on the last axis, for tokens and vectors; starts as ``Conv1x1`` does.

    Args:
        in_channels: of the student.
        out_channels: of the teacher.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.projection = nn.Linear(in_channels, out_channels)
        _keep_variance(self.projection)

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        """(..., in_channels) to (..., out_channels); the teacher's feature is not used."""
        projected: Tensor = self.projection(student)
        return projected


def _keep_variance(layer: nn.Conv2d | nn.Linear) -> None:
    nn.init.kaiming_normal_(layer.weight, mode="fan_in", nonlinearity="linear")
    assert layer.bias is not None
    nn.init.zeros_(layer.bias)
