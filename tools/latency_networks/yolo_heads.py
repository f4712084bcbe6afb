"""Detection heads of the YOLO family, with the decoding that their published exports contain."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from yolo_layers import Conv, depthwise

CLASSES = 80
STRIDES = (8, 16, 32)
ANCHORS = 3  # of YOLOv5 and YOLOv7 at each cell
DETECTIONS = 300  # that the heads without NMS keep


class AnchorHead(nn.Module):
    """YOLOv5's and YOLOv7's: one 1x1 convolution a level.

    ``decode=False`` gives the convolutions' outputs alone, as NVIDIA's cuDLA sample exports them.
    """

    def __init__(self, channels: Sequence[int], *, decode: bool) -> None:
        super().__init__()
        self.levels = nn.ModuleList(
            nn.Conv2d(width, ANCHORS * (5 + CLASSES), 1) for width in channels
        )
        self.decode = decode

    def forward(self, features: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """(B, C, H, W) of each level to (B, N, 85), or the raw levels."""
        raw = [level(x) for level, x in zip(self.levels, features, strict=True)]
        if not self.decode:
            return tuple(raw)
        decoded = []
        for x, stride in zip(raw, STRIDES, strict=True):
            B, _, H, W = (int(size) for size in x.shape)
            x = x.view(B, ANCHORS, 5 + CLASSES, H, W).permute(0, 1, 3, 4, 2).sigmoid()
            centre, size, rest = x.split((2, 2, CLASSES + 1), 4)
            cells = _cells(H, W).view(1, 1, H, W, 2)
            anchors = torch.arange(1.0, 7.0).view(1, ANCHORS, 1, 1, 2)
            joined = [(centre * 2 + cells) * stride, (size * 2) ** 2 * anchors, rest]
            decoded.append(torch.cat(joined, 4).view(B, -1, 5 + CLASSES))
        return (torch.cat(decoded, 1),)


class DenseHead(nn.Module):
    """YOLOv8's and later ones': boxes and classes by branches of their own, no anchors.

    Args:
        channels: of each level.
        bins: of each side's distance; 1 predicts the distance itself (YOLO26).
        light: depthwise class branches (YOLOv10 on).
        end_to_end: the best ``DETECTIONS`` are chosen in the graph, without NMS.
    """

    def __init__(
        self, channels: Sequence[int], *, bins: int, light: bool, end_to_end: bool
    ) -> None:
        super().__init__()
        box_width = max(16, channels[0] // 4, 4 * bins)
        class_width = max(channels[0], CLASSES)
        self.boxes = nn.ModuleList(
            nn.Sequential(
                Conv(width, box_width, 3),
                Conv(box_width, box_width, 3),
                nn.Conv2d(box_width, 4 * bins, 1),
            )
            for width in channels
        )
        self.classes = nn.ModuleList(
            nn.Sequential(*_class_branch(width, class_width, light=light)) for width in channels
        )
        self.bins = bins
        self.expectation = nn.Conv2d(bins, 1, 1, bias=False) if bins > 1 else None
        self.end_to_end = end_to_end

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """(B, C, H, W) of each level to (B, 4 + K, N), or (B, 300, 6) end to end."""
        distances, scores, centres, strides = [], [], [], []
        for x, box_branch, class_branch, stride in zip(
            features, self.boxes, self.classes, STRIDES, strict=True
        ):
            B, _, H, W = (int(size) for size in x.shape)
            distances.append(box_branch(x).view(B, 4 * self.bins, H * W))
            scores.append(class_branch(x).view(B, CLASSES, H * W))
            centres.append(_cells(H, W).view(H * W, 2).t() + 0.5)
            strides.append(torch.full((1, H * W), float(stride)))
        distance = torch.cat(distances, 2)
        if self.expectation is not None:
            B, _, N = (int(size) for size in distance.shape)
            likely = distance.view(B, 4, self.bins, N).transpose(1, 2).softmax(1)
            distance = self.expectation(likely).view(B, 4, N)
        boxes = _decoded(distance, torch.cat(centres, 1), corners=self.end_to_end)
        out = torch.cat([boxes * torch.cat(strides, 1), torch.cat(scores, 2).sigmoid()], 1)
        return _best(out.transpose(1, 2)) if self.end_to_end else out


def _class_branch(width: int, inner: int, *, light: bool) -> list[nn.Module]:
    last = nn.Conv2d(inner, CLASSES, 1)
    if not light:
        return [Conv(width, inner, 3), Conv(inner, inner, 3), last]
    first = [depthwise(width), Conv(width, inner)]
    return [*first, depthwise(inner), Conv(inner, inner), last]


def _cells(rows: int, columns: int) -> Tensor:
    y, x = torch.meshgrid(torch.arange(float(rows)), torch.arange(float(columns)), indexing="ij")
    return torch.stack([x, y], -1)


def _decoded(distance: Tensor, centres: Tensor, *, corners: bool) -> Tensor:
    """Distances to the four sides (B, 4, N) to boxes: corners, or centre and size."""
    first, second = distance[:, :2], distance[:, 2:]
    low, high = centres - first, centres + second
    if corners:
        return torch.cat([low, high], 1)
    return torch.cat([(low + high) / 2, high - low], 1)


def _best(found: Tensor) -> Tensor:
    """(B, N, 4 + K) to (B, 300, 6): two rounds of top-k, first of cells, then of their classes."""
    boxes, scores = found[..., :4], found[..., 4:]
    cells = scores.amax(2).topk(DETECTIONS)[1].unsqueeze(2)
    boxes = boxes.gather(1, _wide(cells, 4))
    scores = scores.gather(1, _wide(cells, CLASSES)).flatten(1)
    score, index = scores.topk(DETECTIONS)
    rows = index.div(CLASSES, rounding_mode="floor").unsqueeze(2)
    labels = (index - CLASSES * rows.squeeze(2)).unsqueeze(2).float()
    picked = boxes.gather(1, _wide(rows, 4))
    return torch.cat([picked, score.unsqueeze(2), labels], 2)


def _wide(index: Tensor, columns: int) -> Tensor:
    """(B, N, 1) to (B, N, columns); by a sum, whose shape ONNX infers, unlike that of an expand."""
    return index + torch.zeros(1, 1, columns, dtype=index.dtype)
