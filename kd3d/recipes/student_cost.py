"""What a student costs: predicted latency, multiply-adds and parameters, without training it."""

import copy
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import onnx
import torch
from mmengine.config import Config
from torch import nn
from typing_extensions import Self

from kd3d.distill.teacher import drop_pretrained
from kd3d.export.detector import build_detector
from kd3d.export.graphs.shape_graph import shape_graph, uninitialised, without_arithmetic
from kd3d.export.networks.deployable import INPUT_NAME, deployable
from kd3d.export.networks.pillar_deployable import (
    INPUT_NAMES,
    is_pillar_detector,
    pillar_deployable,
)
from kd3d.export.point_clouds import synthetic_cloud
from kd3d.export.preprocessing import input_channels, input_size
from kd3d.export.voxelization import network_feeds
from kd3d.profiling.devices import Device
from kd3d.profiling.roofline import predict_latency


@dataclass(frozen=True, kw_only=True)
class StudentCost:
    """What one frame costs.

    Attributes:
        latency_ms: predicted, of the exported network alone: no voxels, no NMS.
        low_ms, high_ms: the measured latency lies between with probability ``coverage``.
        coverage: of the interval.
        gmacs: billions of multiply-adds of the exported graph.
        parameters_m: millions.
        input: what was assumed of the input, for people.
        warnings: what the predictor had to assume.
    """

    latency_ms: float
    low_ms: float
    high_ms: float
    coverage: float
    gmacs: float
    parameters_m: float
    input: str
    warnings: tuple[str, ...] = ()

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Self:
        """The reverse of ``as_json``."""
        return cls(**{**content, "warnings": tuple(content["warnings"])})

    def as_json(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def student_cost(config: Config, device: Device, *, precision: str, protocol: str) -> StudentCost:
    """Builds the detector, traces what would be exported, and predicts its latency.

    Neither weights are drawn nor convolutions computed, so this takes a second or so.

    Args:
        config: of the student; its pretrained weights are not loaded.
        device: board and power mode.
        precision: "fp32", "fp16" or "int8".
        protocol: "engine", "python" or "mlperf".

    Raises:
        UserError: if the detector cannot be built or exported.
    """
    config = copy.deepcopy(config)
    drop_pretrained(config.model)
    detector = uninitialised(lambda: build_detector(config))
    graph, given = student_graph(detector, config)
    prediction = predict_latency(graph, device, precision=precision, protocol=protocol)
    return StudentCost(
        latency_ms=prediction.total_ms,
        low_ms=prediction.low_ms,
        high_ms=prediction.high_ms,
        coverage=prediction.coverage,
        gmacs=prediction.gflops / 2,
        parameters_m=sum(parameter.numel() for parameter in detector.parameters()) / 1e6,
        input=given,
        warnings=prediction.warnings,
    )


def student_graph(detector: nn.Module, config: Config) -> tuple[onnx.ModelProto, str]:
    """The graph that would be exported, without weights, and the input it was traced for.

    Args:
        detector: in eval mode.
        config: its own. Images get the size of its test pipeline; a pillar detector the pillars
            of one synthetic sweep, at most as many as it takes.
    """
    if not is_pillar_detector(detector):
        height, width = input_size(config)
        example = {INPUT_NAME: torch.zeros(1, input_channels(config), height, width)}
        network = deployable(detector)
        graph = shape_graph(network, example, output_names=network.output_names)
        return graph, f"{height} x {width} px"
    with without_arithmetic(detector):
        pillars = pillar_deployable(detector)
        features = pillars.example(1)[0].shape[2]
        feeds = network_feeds([synthetic_cloud(features)], pillars.voxelization)
        count = len(feeds["num_points"])
        tensors = dict(zip(INPUT_NAMES, pillars.example(count), strict=True))
        graph = shape_graph(pillars, tensors, output_names=pillars.output_names)
    rows, columns, _ = pillars.voxelization.grid
    return graph, f"{count} pillars on {rows} x {columns}"
