"""The pillar encoder and the scatter to a BEV map, written so that they become plain ONNX.

mmdet3d's own forward cannot be traced: it writes into its input (the legacy branch), loops over
the frames of the batch, and selects pillars by mask. Same weights, same result, other form. Batch
norm is folded into the linear layer, where the exporter folds it into convolutions only. Pillars
are the last axis throughout: what differs by pillar is then added to long rows, not to rows of
three values, and ONNX Runtime makes a pillar's features in half the time.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from kd3d.errors import UserError

ENCODERS = ("PillarFeatureNet", "ScaledPillarFeatureNet", "HardVFE")


def check_encoder(encoder: nn.Module) -> None:
    """Raises a UserError for an encoder that ``pillar_features`` does not compute."""
    name, norms = type(encoder).__name__, []
    if name in ENCODERS:
        norms = [layer.norm for layer in _layers(encoder)]
    if not norms or not all(isinstance(norm, _BatchNorm) for norm in norms):
        raise UserError(
            f"cannot export the voxel encoder {name}; supported are {', '.join(ENCODERS)} with "
            "batch norm, on hard voxelisation"
        )
    if getattr(encoder, "fusion_layer", None) is not None:
        raise UserError(f"cannot export {name} with a fusion_layer; supported is LiDAR alone")


def pillar_features(
    encoder: nn.Module, pillars: Tensor, num_points: Tensor, coordinates: Tensor
) -> Tensor:
    """What a PillarFeatureNet or HardVFE of mmdet3d computes, in eval mode.

    Args:
        encoder: with its weights.
        pillars: (P, M, C) points, unused places 0.
        num_points: (P,) used places; 0 gives a finite result without meaning.
        coordinates: (P, 4) frame z y x.

    Returns:
        (P, D).
    """
    places = int(pillars.shape[1])
    count = num_points.to(pillars.dtype).clamp(min=1.0)
    features = _decorated(encoder, pillars.permute(1, 2, 0), count, coordinates)
    numbers = torch.tensor(list(range(places)), dtype=torch.int32, device=pillars.device)
    used = numbers.view(-1, 1) < num_points.to(torch.int32)
    features = features * used.unsqueeze(1).to(features.dtype)
    for layer in _layers(encoder):
        points = F.relu(_linear_with_norm(layer, features))
        if getattr(layer, "mode", "max") == "avg":
            pooled = points.sum(0, keepdim=True) / count
        else:
            pooled = points.amax(0, keepdim=True)
        last = layer.last_vfe if hasattr(layer, "last_vfe") else not layer.cat_max
        if last:
            features = pooled
        else:  # repeated by adding zeros: repeat() leaves a 64-bit ConstantOfShape in the file
            everywhere = pooled + pooled.new_zeros(places, 1, 1)
            features = torch.cat([points, everywhere], 1)
    return features.flatten(0, 1).transpose(0, 1)


def bev_map(
    features: Tensor, coordinates: Tensor, *, batch: int, rows: int, columns: int
) -> Tensor:
    """Puts pillars in their cells by one ScatterND.

    Args:
        features: (P, D).
        coordinates: (P, 4) int, frame z y x. Pillars with a negative value, or with a frame or
            cell that does not exist, are left out.
        batch: frames B.
        rows: H of the map, along y.
        columns: W of the map, along x.

    Returns:
        (B, D, rows, columns), 0 where there is no pillar.
    """
    width = int(features.shape[1])
    frame, z, y, x = coordinates.unbind(1)
    exists = (frame >= 0) & (z >= 0) & (y >= 0) & (x >= 0)
    exists = exists & (frame < batch) & (y < rows) & (x < columns)
    cells = batch * rows * columns
    cell = torch.where(exists, (frame * rows + y) * columns + x, cells)
    # one more row, for what is left out
    scatter: Any = _ScatterRows.apply  # Any: torch gives it no types
    filled: Tensor = scatter(cell.long().unsqueeze(1), features, (cells + 1, width))
    return filled[:cells].view(batch, rows, columns, width).permute(0, 3, 1, 2)


class _ScatterRows(torch.autograd.Function):
    """Zeros, with ``zeros[rows] = values``.

    In ONNX two nodes: torch would write the zeros into the file (67 MB for 512 x 512 cells of 64
    channels) and a dozen nodes for the index.
    """

    @staticmethod
    def forward(ctx: Any, rows: Tensor, values: Tensor, shape: tuple[int, int]) -> Tensor:
        return values.new_zeros(shape).index_put((rows[:, 0],), values)

    @staticmethod
    def symbolic(graph: Any, rows: Any, values: Any, shape: tuple[int, int]) -> Any:
        sizes = graph.op("Constant", value_t=torch.tensor(shape))
        canvas = graph.op("ConstantOfShape", sizes, value_t=torch.zeros(1))
        kind = values.type().with_sizes(list(shape))
        return graph.op("ScatterND", canvas, rows, values).setType(kind)


def _decorated(encoder: Any, points: Tensor, count: Tensor, coordinates: Tensor) -> Tensor:
    """(M, C, P) points with their offsets from the mean of the pillar and from its centre."""
    xyz, parts = points[:, :3], [points]
    if encoder._with_cluster_center:
        parts.append(xyz - xyz.sum(0, keepdim=True) / count)
    if encoder._with_voxel_center:
        size = points.new_tensor([encoder.vx, encoder.vy, encoder.vz]).unsqueeze(1)
        offset = points.new_tensor([encoder.x_offset, encoder.y_offset, encoder.z_offset])
        cell = coordinates.index_select(1, coordinates.new_tensor([3, 2, 1]).long()).transpose(0, 1)
        from_center = xyz - (cell.to(points.dtype) * size + offset.unsqueeze(1))
        if getattr(encoder, "legacy", False):  # there the offset overwrites x y z of the points
            xyz, parts[0] = from_center, torch.cat([from_center, points[:, 3:]], 1)
        parts.append(from_center)
    if encoder._with_distance:
        parts.append((xyz * xyz).sum(1, keepdim=True).sqrt())
    return torch.cat(parts, 1)


def _layers(encoder: Any) -> list[Any]:
    return list(encoder.pfn_layers if hasattr(encoder, "pfn_layers") else encoder.vfe_layers)


def _linear_with_norm(layer: Any, features: Tensor) -> Tensor:
    norm = layer.norm
    scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
    weight = layer.linear.weight * scale.unsqueeze(1)
    if hasattr(layer, "input_scale"):  # ScaledPillarFeatureNet's factors on the layer's inputs
        weight = weight * layer.input_scale
    bias: Tensor = norm.bias - norm.running_mean * scale
    return torch.matmul(weight, features) + bias.unsqueeze(1)
