"""Every family of images that can be exported, thin enough to export in a second."""

import torch
from mmengine.config import Config
from torch import nn
from toys import backbone, preprocessor, retinanet

from kd3d.configs import load_config
from kd3d.export.detector import build_detector

SIZE = (64, 96)
TWO_LEVELS = {"type": "FPN", "in_channels": [8, 16], "out_channels": 8, "num_outs": 2}
NORM = {"type": "GN", "num_groups": 4}
HEAD = {"num_classes": 3, "in_channels": 8, "feat_channels": 8, "stacked_convs": 1}
ATTENTION = {"embed_dims": 16, "num_heads": 2, "dropout": 0.0, "batch_first": True}
LAYER = {
    "self_attn_cfg": ATTENTION,
    "ffn_cfg": {
        "embed_dims": 16,
        "feedforward_channels": 16,
        "num_fcs": 2,
        "ffn_drop": 0.0,
        "act_cfg": {"type": "ReLU", "inplace": True},
    },
}
CLASS_LAYERS = (
    "retina_cls", "gfl_cls", "conv_cls", "rtm_cls", "conv_obj", "atss_cls", "rpn_cls", "fc_cls",
)  # fmt: skip
BOX_LAYERS = {"gfl_reg": 2.0, "rpn_reg": 0.5, "fc_reg": 0.5}  # spread that gives different boxes
CHANGES = {
    "retinanet": {},
    "gfl": {
        "backbone": backbone(4),
        "neck": TWO_LEVELS,
        "bbox_head": HEAD | {"norm_cfg": NORM, "anchor_generator": {"strides": [8, 16]}},
    },
    "fcos": {
        "backbone": backbone(4),
        "neck": TWO_LEVELS,
        "bbox_head": HEAD
        | {"norm_cfg": NORM, "strides": [8, 16], "regress_ranges": ((-1, 64), (64, 1e8))},
        "data_preprocessor": preprocessor(mean=[100.0, 110.0, 120.0], bgr_to_rgb=False),
    },
    "atss": {
        "backbone": backbone(4),
        "neck": TWO_LEVELS,
        "bbox_head": HEAD | {"norm_cfg": NORM, "anchor_generator": {"strides": [8, 16]}},
    },
    "faster_rcnn": {
        "backbone": backbone(4),
        "neck": TWO_LEVELS | {"num_outs": 3},
        "rpn_head": {
            "in_channels": 8,
            "feat_channels": 8,
            "anchor_generator": {"scales": [2], "ratios": [0.5, 1.0], "strides": [8, 16, 32]},
        },
        "roi_head": {
            "bbox_roi_extractor": {
                "type": "SingleRoIExtractor",
                "roi_layer": {"type": "RoIAlign", "output_size": 3, "sampling_ratio": 0},
                "out_channels": 8,
                "featmap_strides": [8, 16],
                "finest_scale": 10,  # so that boxes fall on both levels
            },
        },
        "test_cfg": {
            "rpn": {  # the last level has fewer than 40, the image more than 60 after NMS
                "nms_pre": 40,
                "max_per_img": 60,
                "nms": {"type": "nms", "iou_threshold": 0.7},
                "min_bbox_size": 0,
            },
        },
    },
    "detr": {
        "backbone": backbone(4) | {"out_indices": (2,)},
        "neck": {"in_channels": [16], "out_channels": 16},
        "encoder": {"num_layers": 2, "layer_cfg": LAYER},
        "decoder": {"num_layers": 2, "layer_cfg": LAYER | {"cross_attn_cfg": ATTENTION}},
        "positional_encoding": {"num_feats": 8},
        "bbox_head": {"num_classes": 3, "embed_dims": 16},
    },
    "rtmdet": {
        "backbone": {"widen_factor": 0.125, "norm_cfg": {"type": "BN"}, "init_cfg": None},
        "neck": {"in_channels": [32, 64, 128], "out_channels": 8, "norm_cfg": {"type": "BN"}},
        "bbox_head": HEAD | {"norm_cfg": {"type": "BN"}},
    },
    "yolox": {
        "backbone": {"widen_factor": 0.125},
        "neck": {"in_channels": [32, 64, 128], "out_channels": 8},
        "bbox_head": HEAD,
    },
}
CONFIGS = {
    "gfl": "gfl/gfl_r50_fpn_1x_coco.py",
    "fcos": "fcos/fcos_r50-caffe_fpn_gn-head_1x_coco.py",
    "rtmdet": "rtmdet/rtmdet_tiny_8xb32-300e_coco.py",
    "yolox": "yolox/yolox_nano_8xb8-300e_coco.py",
    "atss": "atss/atss_r50_fpn_1x_coco.py",
    "faster_rcnn": "faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py",
    "detr": "detr/detr_r50_8xb2-150e_coco.py",
}


def tiny_config(family: str) -> Config:
    """Config of a thin detector with the head, decoding and test settings of its family."""
    cfg = load_config("mmdet::" + CONFIGS.get(family, "retinanet/retinanet_r18_fpn_1x_coco.py"))
    if family == "retinanet":
        cfg.model = retinanet(classes=3)
    for part, change in CHANGES[family].items():
        if "type" in change:
            cfg.model[part] = change
        else:
            cfg.model[part].update(change)
            cfg.model[part].get("anchor_generator", {}).setdefault("type", "AnchorGenerator")
    if family == "faster_rcnn":
        cfg.model.roi_head.bbox_head.update(
            in_channels=8, fc_out_channels=16, roi_feat_size=3, num_classes=3
        )
    if family in ("gfl", "atss"):
        generator = {"ratios": [1.0], "octave_base_scale": 8, "scales_per_octave": 1}
        cfg.model.bbox_head.anchor_generator.update(generator)
    cfg.test_dataloader.dataset.metainfo = {"classes": ("car", "person", "bicycle")}
    for step in cfg.test_dataloader.dataset.pipeline:
        if step.type == "Resize":
            step.scale = (96, 64)
        if step.type == "Pad":
            step.pop("pad_to_square", None)
            step["size"] = (96, 64)
    return cfg


def tiny_detector(cfg: Config) -> nn.Module:
    """Random weights whose scores are spread between 0 and 1, with boxes of some size."""
    torch.manual_seed(0)
    detector = build_detector(cfg)
    with torch.no_grad():
        for name, parameter in detector.named_parameters():
            if any(layer in name for layer in CLASS_LAYERS) and name.endswith("weight"):
                parameter.normal_(std=0.5)
            for layer, spread in BOX_LAYERS.items():
                if f"{layer}.weight" in name:
                    parameter.normal_(std=spread)
            if "rtm_reg" in name and name.endswith("bias"):
                parameter.fill_(1.5)  # else boxes have no area
    return detector
