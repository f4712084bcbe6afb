"""What is exported of DETR: every query with its box and its scores. No NMS belongs to it."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kd3d.errors import UserError
from kd3d.export.detections.final_boxes import PostProcessing
from kd3d.export.networks.image_area import within

MASKED = -1e4  # added to an attention logit: its share becomes 0 exactly, in float16 too


class TransformerNetwork:
    """Backbone, transformer and box decoding of DETR (Carion et al., 2020).

    The positional encoding and the mask of the padding are constants of the file. MMDetection's
    own export leaves the mask out, so padding is attended to; ours equals ``predict``.

    Args:
        detector: mmdet's DETR, whose library is untyped.
        image_size: (H, W) px outside which the input is masked; None masks nothing.

    Raises:
        UserError: for another head than DETRHead.
    """

    fixed_batch = True
    rows_free = False
    output_names: tuple[str, ...] = ("boxes", "scores")

    def __init__(self, detector: Any, image_size: tuple[int, int] | None) -> None:
        self._detector = detector
        self.image_size = image_size
        head = self._detector.bbox_head
        if type(head).__name__ != "DETRHead":
            raise UserError(f"cannot export DETR with a {type(head).__name__}; expected DETRHead")
        softmax = not head.loss_cls.use_sigmoid
        self._softmax = softmax
        most = int(self._detector.num_queries)
        self.postprocessing = PostProcessing(
            0.0, max_per_image=head.test_cfg.get("max_per_img", most), multi_label=not softmax
        )

    def outputs(self, images: Tensor) -> tuple[Tensor, ...]:
        """Boxes (B, Q, 4) and scores (B, Q, K) without "no object"."""
        detector = self._detector
        area = within(self.image_size, (int(images.shape[2]), int(images.shape[3])))
        features = detector.extract_feat(images)[-1]
        position, mask = self._constants(features, images, area)
        cells = features.flatten(2).transpose(1, 2)
        memory = detector.forward_encoder(cells, mask, position)["memory"]
        query_position = detector.query_embedding.weight.unsqueeze(0)
        query = query_position.new_zeros(int(images.shape[0]), *query_position.shape[1:])
        for layer in detector.decoder.layers:
            query = layer(
                query,
                key=memory,
                value=memory,
                query_pos=query_position,
                key_pos=position,
                key_padding_mask=mask,
            )
        hidden = detector.decoder.post_norm(query)
        logits, relative = (values[0] for values in detector.bbox_head(hidden.unsqueeze(0)))
        scores = logits.softmax(-1)[..., :-1] if self._softmax else logits.sigmoid()
        half = relative[..., 2:] / 2
        corners = torch.cat([relative[..., :2] - half, relative[..., :2] + half], -1)
        return corners * corners.new_tensor([area[1], area[0]] * 2), scores

    def level_sizes(self, images: Tensor) -> tuple[int, ...]:
        """The queries, as one level."""
        return (int(self._detector.num_queries),)

    def _constants(
        self, features: Tensor, images: Tensor, area: tuple[int, int]
    ) -> tuple[Tensor, Tensor | None]:
        """Positions (1, N, C) of the cells and what masks them (B, N).

        From NumPy: a tracer that saw how they are made would leave it in the file.
        """
        inputs = tuple(int(size) for size in images.shape[2:])
        cells = tuple(int(size) for size in features.shape[2:])
        valid = [_valid_cells(*sizes) for sizes in zip(cells, inputs, area, strict=True)]
        encoding = sine_positions(self._detector.positional_encoding, cells, valid)
        position = torch.from_numpy(encoding).to(features.device)
        if area == inputs:
            return position, None
        mask = np.full(cells, MASKED, dtype=np.float32)
        mask[: valid[0], : valid[1]] = 0
        rows = mask.reshape(1, -1).repeat(int(features.shape[0]), axis=0)
        return position, torch.from_numpy(rows).to(features.device)


def sine_positions(settings: Any, cells: tuple[int, ...], valid: list[int]) -> NDArray[np.float32]:
    """The SinePositionalEncoding of mmdet, for a map of which only the upper left part is image.

    Args:
        settings: the module, for its numbers.
        cells: (rows, columns) of the map.
        valid: rows and columns that lie in the image. Encodings beyond them differ from mmdet's;
            they are masked.

    Returns:
        (1, rows * columns, C), the row's half first.
    """
    rows, columns = (_axis(settings, *sizes) for sizes in zip(cells, valid, strict=True))
    shape = (*cells, rows.shape[1])
    both = [np.broadcast_to(rows[:, None], shape), np.broadcast_to(columns[None], shape)]
    return np.concatenate(both, -1).reshape(1, cells[0] * cells[1], -1)


def _axis(settings: Any, count: int, valid: int) -> NDArray[np.float32]:
    """(count, C / 2) of the cells along one axis."""
    step = np.arange(1, count + 1, dtype=np.float32)
    if settings.normalize:
        step = (step + settings.offset) / (valid + settings.eps) * settings.scale
    channel = np.arange(settings.num_feats)
    wave_length = settings.temperature ** (2 * (channel // 2) / settings.num_feats)
    angle = step[:, None] / wave_length
    waves: NDArray[np.float32] = np.where(channel % 2, np.cos(angle), np.sin(angle))
    return waves.astype(np.float32)


def _valid_cells(cells: int, pixels: int, image_px: int) -> int:
    """Cells whose pixel, as nearest interpolation picks it, lies in the image."""
    return int((np.floor(np.arange(cells) * (pixels / cells)) < image_px).sum())
