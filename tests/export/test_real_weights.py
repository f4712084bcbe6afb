"""YOLOX-nano with its COCO weights, where the data is there (KD3D_REAL_DATA)."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from kd3d.backends.ort import OnnxRuntimeBackend
from kd3d.checkpoints import load_weights
from kd3d.configs import load_config
from kd3d.export.detector import build_detector
from kd3d.export.graphs.graph_parts import load_onnx
from kd3d.export.graphs.onnx_weights import largest_difference, weights_from_onnx
from kd3d.export.networks.deployable import deployable
from kd3d.export.preprocessing import image_input

DATA = Path(os.environ.get("KD3D_REAL_DATA", ""))
FILE = DATA / "weights" / "yolox_nano_coco_416.onnx"
pytestmark = pytest.mark.skipif(
    "KD3D_REAL_DATA" not in os.environ, reason="KD3D_REAL_DATA is not set"
)


def test_yolox_nano_equals_its_onnx_file_on_a_real_image():
    cfg = load_config("mmdet::yolox/yolox_nano_8xb8-300e_coco.py")
    detector = build_detector(cfg)
    noise = torch.rand(1, 3, 416, 416, generator=torch.Generator().manual_seed(0)) * 255
    model = load_onnx(FILE)
    load_weights(detector, weights_from_onnx(detector, model, noise), where=str(FILE))
    assert largest_difference(detector, model, noise) < 1e-3
    picture = min((DATA / "coco128" / "images" / "val2017").glob("*.jpg"))
    images = image_input(cfg, detector, picture, (416, 416))
    with torch.no_grad():
        _, scores = deployable(detector)(torch.from_numpy(images))
    with OnnxRuntimeBackend(FILE, threads=1) as backend:
        output = backend.infer({"images": images})["output"]
    expected = output[..., 4:5] * output[..., 5:]  # objectness times classes
    assert expected.max() > 0.5  # something is seen
    np.testing.assert_allclose(scores.numpy(), expected, atol=1e-3)
