"""What is exported of Faster R-CNN: a fixed number of proposals with one box a class each."""

from typing import Any

import torch
from torch import Tensor

from kd3d.errors import UserError
from kd3d.export.detections.final_boxes import PostProcessing
from kd3d.export.networks.image_area import within
from kd3d.export.networks.proposals import Proposals, ProposalSettings, select_proposals
from kd3d.export.networks.roi_features import roi_features
from kd3d.heads.dense import boxes_from_deltas, dense_prediction, mmdet_family

MOST_ROWS = 3839  # that every TensorRT's TopK takes; its NMS takes 5000


class TwoStageNetwork:
    """Both stages with the NMS between them; the NMS of the detections is left to the host.

    Args:
        detector: of MMDetection, whose library is untyped; with an RPNHead and a
            StandardRoIHead that only finds boxes.
        image_size: (H, W) px to which proposals are clipped; None takes the whole input.

    Raises:
        UserError: for parts or settings that are not known here.
    """

    fixed_batch = True
    rows_free = True
    output_names: tuple[str, ...] = ("boxes", "scores")

    def __init__(self, detector: Any, image_size: tuple[int, int] | None) -> None:
        self._detector = detector
        self.image_size = image_size
        _check_parts(self._detector)
        self._proposals = _proposal_settings(self._detector.rpn_head)
        self.postprocessing = _post_processing(self._detector.roi_head)

    def outputs(self, images: Tensor) -> tuple[Tensor, ...]:
        """Boxes (B, P, K, 4), or (B, P, 4) if all classes share one, and scores (B, P, K)."""
        features = self._detector.extract_feat(images)
        proposals = self._first_stage(features, (int(images.shape[2]), int(images.shape[3])))
        head = self._detector.roi_head.bbox_head
        extractor = self._detector.roi_head.bbox_roi_extractor
        pooled = roi_features(extractor, features[: extractor.num_inputs], proposals.boxes)
        logits, deltas = head(pooled)

        batch, count = (int(size) for size in proposals.scores.shape)
        scores = logits.reshape(batch, count, -1).softmax(-1)[..., :-1]
        exists = proposals.scores.unsqueeze(-1) > 0
        scores = torch.where(exists, scores, torch.zeros_like(scores))
        if head.reg_class_agnostic:
            boxes, deltas = proposals.boxes, deltas.reshape(batch, count, 4)
        else:
            boxes = proposals.boxes.unsqueeze(2)
            deltas = deltas.reshape(batch, count, int(head.num_classes), 4)
        return boxes_from_deltas(head, boxes, deltas), scores

    def level_sizes(self, images: Tensor) -> tuple[int, ...]:
        """The proposals of an image, as one level."""
        return (int(self.outputs(images)[1].shape[1]),)

    def _first_stage(self, features: Any, input_size: tuple[int, int]) -> Proposals:
        head = self._detector.rpn_head
        outputs = head(features)
        prediction = dense_prediction(head, outputs)
        channels = head.cls_out_channels
        sizes = [level.shape[1:].numel() // channels for level in outputs[0]]
        return select_proposals(
            prediction.boxes,
            prediction.scores()[..., 0],
            sizes,
            self._proposals,
            within(self.image_size, input_size),
        )


def _check_parts(detector: Any) -> None:
    roi_head = detector.roi_head
    extractor: Any = getattr(roi_head, "bbox_roi_extractor", None)
    found = {
        "rpn_head": (mmdet_family(detector.rpn_head), "RPNHead"),
        "roi_head": (mmdet_family(roi_head), "StandardRoIHead"),
        "bbox_roi_extractor": (type(extractor).__name__, "SingleRoIExtractor"),
    }
    wrong = [
        f"{part} is {have}, not {want}" for part, (have, want) in found.items() if have != want
    ]
    if not wrong:
        kinds = {(type(layer).__name__, layer.pool_mode) for layer in extractor.roi_layers}
        if kinds != {("RoIAlign", "avg")}:
            wrong.append(f"its RoI layers are {sorted(kinds)}, not an averaging RoIAlign")
        if roi_head.with_mask or roi_head.with_shared_head:
            wrong.append("roi_head has a mask head or a shared head")
        if roi_head.bbox_head.custom_cls_channels:
            wrong.append(f"{type(roi_head.bbox_head.loss_cls).__name__} has scores of its own")
    if wrong:
        raise UserError(
            f"cannot export {type(detector).__name__}: {'; '.join(wrong)}. Two-stage detectors "
            "are exported as Faster R-CNN with an FPN is built"
        )


def _proposal_settings(head: Any) -> ProposalSettings:
    settings = head.test_cfg
    per_level, count = settings.get("nms_pre", -1), settings.get("max_per_img", -1)
    if not (0 < per_level <= MOST_ROWS and 0 < count <= MOST_ROWS):
        raise UserError(
            f"model.test_cfg.rpn has nms_pre={per_level} and max_per_img={count}; the file needs "
            f"fixed numbers from 1 to {MOST_ROWS} (TensorRT's TopK takes no more): "
            "--cfg-options model.test_cfg.rpn.nms_pre=1000 model.test_cfg.rpn.max_per_img=1000"
        )
    nms = dict(settings.nms)
    if nms.pop("type", "nms") != "nms" or set(nms) != {"iou_threshold"}:
        raise UserError(
            f"model.test_cfg.rpn.nms is {dict(settings.nms)}; expected a plain "
            "{'type': 'nms', 'iou_threshold': ...}, the only kind that the file can do"
        )
    # boxes without area are dropped even where mmdet keeps them (min_bbox_size=-1)
    smallest = max(0.0, float(settings.get("min_bbox_size", -1)))
    return ProposalSettings(per_level, float(nms["iou_threshold"]), count, smallest)


def _post_processing(roi_head: Any) -> PostProcessing:
    settings = roi_head.test_cfg
    return PostProcessing(
        settings.score_thr,
        dict(settings.nms),
        max_per_image=settings.get("max_per_img", -1),
        clip=bool(roi_head.bbox_head.bbox_coder.clip_border),
    )
