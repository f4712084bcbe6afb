"""The networks whose Orin latencies are published, by name, with their inputs."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import attention_networks as attention
import bev_networks as bev
import onnx
import residual_networks as residual
import small_networks as small
import torch
import yolo_networks as yolo
from torch import nn

from kd3d.export.graphs.shape_graph import shape_graph, uninitialised

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Network:
    """How to build a network, and for which inputs its graph is written.

    Attributes:
        build: makes the module; its weights do not matter.
        inputs: shapes by name.
        indices: names of the inputs that are integers.
    """

    build: Callable[[], nn.Module]
    inputs: Mapping[str, Shape]
    indices: tuple[str, ...] = ()

    def module(self) -> nn.Module:
        """The module in eval mode."""
        return uninitialised(self.build).eval()

    def graph(self, module: nn.Module) -> onnx.ModelProto:
        """The ONNX graph, with shapes and without weights."""
        kinds = {name: torch.int32 if name in self.indices else None for name in self.inputs}
        example = {n: torch.zeros(shape, dtype=kinds[n]) for n, shape in self.inputs.items()}
        return shape_graph(module, example)


def parameters(module: nn.Module) -> int:
    """Trainable numbers, batch norms included."""
    return sum(parameter.numel() for parameter in module.parameters())


def gflops(model: onnx.ModelProto) -> float:
    """Twice the multiply-adds of convolutions and matrix products, in billions."""
    shapes = {
        value.name: [dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for value in (*model.graph.value_info, *model.graph.input, *model.graph.output)
    }
    shapes |= {tensor.name: list(tensor.dims) for tensor in model.graph.initializer}
    total = 0
    for node in model.graph.node:
        if node.op_type in ("Conv", "ConvTranspose"):  # the weight's first axis: see multiply_adds
            cells = node.output[0] if node.op_type == "Conv" else node.input[0]
            total += math.prod(shapes[cells]) * math.prod(shapes[node.input[1]][1:])
        elif node.op_type in ("MatMul", "Gemm"):
            total += math.prod(shapes[node.output[0]]) * shapes[node.input[0]][-1]
    return 2 * total / 1e9


def _image(size: int, *, batch: int = 1, width: int | None = None) -> dict[str, Shape]:
    return {"images": (batch, 3, size, width or size)}


def _yolos() -> dict[str, Network]:
    found = {}
    families = {
        "yolov5": (yolo.yolov5, "nsm"),
        "yolov8": (yolo.yolov8, "nsmlx"),
        "yolo11": (yolo.yolo11, "nsmlx"),
        "yolo26": (yolo.yolo26, "nsmlx"),
    }
    for family, (build, letters) in families.items():
        for letter in letters:
            found[f"{family}{letter}"] = Network(
                lambda build=build, letter=letter: build(letter),  # type: ignore[misc]
                _image(640),
            )
    for batch in (1, 2, 4, 8, 12, 16):
        found[f"yolov5s_raw_672_b{batch}"] = Network(
            lambda: yolo.yolov5("s", decode=False), _image(672, batch=batch)
        )
    return found


def _others() -> dict[str, Network]:
    return {
        "resnet50": Network(lambda: residual.Classifier(50), _image(224)),
        "ssd_resnet34_1200": Network(residual.SsdResNet34, _image(1200)),
        "nanosam_resnet18_1024": Network(residual.NanoSam, _image(1024)),
        "resnet34_backbone_768x1280": Network(lambda: residual.ResNet(34), _image(768, width=1280)),
        "retinanet_resnet34_768x1280": Network(
            lambda: residual.RetinaNet(34), _image(768, width=1280)
        ),
        "retinanet_resnext50_800": Network(
            lambda: residual.RetinaNet(50, groups=32, classes=264), _image(800)
        ),
        "centerpoint_voxel_dense": Network(bev.centerpoint_dense, {"bev": (1, 256, 180, 180)}),
        "bevdet_r50_image_stage": Network(
            bev.BevDetImageStage, {**_image(256, width=704, batch=6), "cameras": (6, 27)}
        ),
        "clip_vit_b32_b8": Network(
            lambda: attention.VisionTransformer(32, 512, clip=True), _image(224, batch=8)
        ),
        "mobilesam_1024": Network(attention.mobile_sam, _image(1024)),
        "petr_vov99_320x800": Network(
            attention.Petr, {**_image(320, width=800, batch=6), "codes": (1, 6000, 256)}
        ),
    }


def _unpublished() -> dict[str, Network]:
    """Not in the published file: to see how the predictor behaves on what it was not fitted on."""
    return {
        **{
            f"resnet{depth}": Network(lambda depth=depth: residual.Classifier(depth), _image(224))  # type: ignore[misc]
            for depth in (18, 34, 101)
        },
        "mobilenet_v2": Network(small.mobilenet_v2, _image(224)),
        "efficientnet_b0": Network(small.efficientnet_b0, _image(224)),
        "vit_b16": Network(lambda: attention.VisionTransformer(16, 1000, clip=False), _image(224)),
        "unet_512": Network(residual.UNet, _image(512)),
        "yolov7_tiny": Network(small.YoloV7Tiny, _image(640)),
        "yolov10n": Network(small.yolov10n, _image(640)),
        "pointpillars_kitti": Network(
            bev.PointPillars, {"pillars": (10000, 32, 10), "cells": (10000,)}, ("cells",)
        ),
        "bevdet_r50_bev_stage": Network(bev.BevDetBevStage, {"bev": (1, 720, 128, 128)}),
        "vovnet99_640x960_b7": Network(attention.VoVNet99, _image(640, width=960, batch=7)),
    }


NETWORKS: dict[str, Network] = {**_yolos(), **_others(), **_unpublished()}
