"""Every 2D family at its published width, on real images: the exported file against mmdet.

Random weights, as no trained ones are at hand; batch norms have seen the images, and classes and
boxes are spread like a trained detector's: most scores near zero, some high. Show the table:

KD3D_REAL_DATA=... pytest tests/real_data/test_full_size_families.py -s
"""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from mmdet.structures import DetDataSample
from torch import nn

from kd3d.backends.box_matching import matching_boxes
from kd3d.backends.ort import OnnxRuntimeBackend
from kd3d.backends.tolerances import Tolerances
from kd3d.configs import load_config
from kd3d.export.detections.final_boxes import final_boxes
from kd3d.export.detector import build_detector
from kd3d.export.gate.proposal_order import in_proposal_order
from kd3d.export.graphs.onnx_model import onnx_from_model
from kd3d.export.networks.deployable import deployable
from kd3d.export.preprocessing import image_input

SIZE = (256, 320)  # of the input; the images fill 250 x 320 of it
IMAGE = (250, 320)
PICTURES = 4
FAMILIES = {
    "RetinaNet-R18": "retinanet/retinanet_r18_fpn_1x_coco.py",
    "GFL-R50": "gfl/gfl_r50_fpn_1x_coco.py",
    "FCOS-R50": "fcos/fcos_r50-caffe_fpn_gn-head_1x_coco.py",
    "ATSS-R50": "atss/atss_r50_fpn_1x_coco.py",
    "RTMDet-tiny": "rtmdet/rtmdet_tiny_8xb32-300e_coco.py",
    "YOLOX-nano": "yolox/yolox_nano_8xb8-300e_coco.py",
    "Faster-RCNN-R50": "faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py",
    "DETR-R50": "detr/detr_r50_8xb2-150e_coco.py",
}
SCORE_LAYERS = ("retina_cls", "gfl_cls", "conv_cls", "rtm_cls", "atss_cls", "rpn_cls", "fc_cls")
BOX_LAYERS = (
    "retina_reg", "gfl_reg", "conv_reg", "rtm_reg", "atss_reg", "rpn_reg", "fc_reg",
)  # fmt: skip
PRIOR_LOGIT = -4.6  # a probability of 1 %, as focal loss starts
pytestmark = pytest.mark.skipif(
    "KD3D_REAL_DATA" not in os.environ, reason="KD3D_REAL_DATA is not set"
)


def pictures(cfg, detector):
    folder = Path(os.environ["KD3D_REAL_DATA"]) / "coco128" / "images" / "val2017"
    paths = sorted(folder.glob("*.jpg"))[:PICTURES]
    images = np.concatenate([image_input(cfg, detector, path, SIZE) for path in paths])
    images[:, :, IMAGE[0] :] = 0  # padding
    return torch.from_numpy(images)


def layers(detector, names):
    return {
        name: module
        for name, module in detector.named_modules()
        if isinstance(module, (nn.Conv2d, nn.Linear)) and any(key in name for key in names)
    }


@torch.no_grad()
def settle(detector, images):
    """Batch norms take the images' statistics; class and box layers get a trained one's spread."""
    norms = [m for m in detector.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    for norm in norms:
        norm.momentum = None
        norm.train()
    samples = [DetDataSample(metainfo=meta()) for _ in images]
    detector.predict(images, samples)
    detector.eval()
    spread = layers(detector, SCORE_LAYERS), layers(detector, BOX_LAYERS)
    for module in (*spread[0].values(), *spread[1].values()):
        module.bias.zero_()
    seen = {}
    hooks = [
        module.register_forward_hook(
            lambda _, __, output, name=name: seen.setdefault(name, []).append(output.flatten())
        )
        for group in spread
        for name, module in group.items()
    ]
    detector.predict(images, samples)
    for hook in hooks:
        hook.remove()
    for group, wanted in zip(spread, (2.0, 0.5), strict=True):
        for name, module in group.items():
            module.weight.mul_(wanted / torch.cat(seen[name]).std().clamp(min=1e-6))
            if wanted == 2.0:  # classes; of a softmax the background is the last
                softmax = name.endswith("fc_cls")
                module.bias[-1 if softmax else slice(None)] = (
                    -PRIOR_LOGIT if softmax else PRIOR_LOGIT
                )


def meta():
    return {
        "img_shape": IMAGE,
        "ori_shape": (500, 640),
        "scale_factor": (0.5, 0.5),
        "pad_shape": SIZE,
        "batch_input_shape": SIZE,
    }


@pytest.mark.parametrize("name", FAMILIES)
def test_detections_of_the_file_are_mmdets(name, tmp_path):
    torch.manual_seed(0)
    cfg = load_config(f"mmdet::{FAMILIES[name]}")
    detector = build_detector(cfg)
    images = pictures(cfg, detector)
    settle(detector, images)
    module = deployable(detector, image_size=IMAGE)
    path = onnx_from_model(
        module,
        {"images": images[:1]},
        tmp_path / "m.onnx",
        output_names=module.output_names,
    )
    tolerances = Tolerances()
    worst, expected_boxes, matched, equal = 0.0, 0, 0, 0
    with OnnxRuntimeBackend(path, threads=1) as backend:
        for index in range(len(images)):
            image = images[index : index + 1]
            with torch.no_grad():
                ours = {
                    n: t.numpy() for n, t in zip(module.output_names, module(image), strict=True)
                }
                theirs = detector.predict(image, [DetDataSample(metainfo=meta())])[0].pred_instances
            file = backend.infer({"images": image.numpy()})
            compared = file
            if module.rows_free:
                compared = in_proposal_order(ours, file, relative=1e-3, rms=1e-3, lost=0.02)
            for key, array in ours.items():
                worst = max(worst, float(np.abs(compared[key] - array).max() / np.abs(array).max()))
            found = final_boxes(
                *(torch.from_numpy(file[key][0]) for key in ("boxes", "scores")),
                module.postprocessing,
                factors=torch.from_numpy(file["factors"][0]) if "factors" in file else None,
                level_sizes=module.level_sizes(image),
                image_shape=IMAGE,
                scale_factor=(0.5, 0.5),
            )
            pair = [
                (boxes.numpy(), scores.numpy(), labels.numpy())
                for boxes, scores, labels in (
                    (theirs.bboxes, theirs.scores, theirs.labels),
                    (found.boxes, found.scores, found.labels),
                )
            ]
            expected_boxes += max(len(pair[0][1]), len(pair[1][1]))
            matched += len(matching_boxes(*pair, tolerances))
            equal += int(np.array_equal(pair[0][2], pair[1][2]))
    print(
        f"\n{name:16} relative difference {worst:.1e}, mmdet's detections {expected_boxes}, "
        f"found in the file's {matched} ({matched / expected_boxes:.2%}), "
        f"images with equal labels in equal order {equal} of {len(images)}"
    )
    assert worst < 2e-3  # a random net of depthwise convolutions doubles what others show
    assert expected_boxes > 50
    assert matched >= 0.98 * expected_boxes
