"""Networks with published latencies are of the published size, and each row has an answer."""

import csv

import onnx
import pytest
import torch
from bev_networks import BevDetBevStage, PointPillars
from networks import NETWORKS, gflops, parameters
from published_rows import ROWS

from kd3d.export.graphs.shape_graph import shape_graph, uninitialised

# Millions of parameters, batch norms included, and GFLOPs (twice the multiply-adds), as published.
PUBLISHED = {
    "yolov5n": (1.87, 4.5),
    "yolov8n": (3.157, 8.7),
    "yolo11n": (2.624, 6.5),
    "yolo26n": (2.41, 5.5),
    "yolov10n": (2.3, 6.7),
    "yolov7_tiny": (6.2, 13.7),
    "resnet18": (11.69, 3.64),
    "mobilenet_v2": (3.505, 0.60),
    "efficientnet_b0": (5.289, 0.78),
}


@pytest.mark.parametrize("name", ["yolo11n", "resnet18", "mobilenet_v2"])
def test_parameters_and_operations_are_the_published_ones(name):
    module = NETWORKS[name].module()
    expected_parameters, expected_gflops = PUBLISHED[name]
    assert parameters(module) / 1e6 == pytest.approx(expected_parameters, rel=0.01)
    assert gflops(NETWORKS[name].graph(module)) == pytest.approx(expected_gflops, rel=0.03)


@pytest.mark.parametrize("name", sorted(set(PUBLISHED) - {"yolo11n", "resnet18", "mobilenet_v2"}))
def test_parameters_are_the_published_ones(name):
    assert parameters(NETWORKS[name].module()) / 1e6 == pytest.approx(PUBLISHED[name][0], rel=0.02)


def test_the_bev_head_is_of_one_task_with_ten_classes():
    """cfgs/bevdet_lt_depth.yaml of bevdet-tensorrt-cpp: five regressions and ten classes."""
    head = BevDetBevStage().head
    assert [layers[-1].out_channels for layers in head.heads] == [2, 1, 3, 2, 2, 10]


def test_pointpillars_begins_with_points_and_scatters_pillars():
    """As NVIDIA's engine does: features of points, their maximum, the canvas, the backbone."""
    example = {"pillars": torch.zeros(6, 32, 10), "cells": torch.zeros(6, dtype=torch.int32)}
    graph = shape_graph(uninitialised(lambda: PointPillars(16, 24)).eval(), example).graph
    first = [n.op_type for n in graph.node if n.op_type not in ("Cast", "Reshape", "Unsqueeze")]
    assert first[:6] == [
        *("MatMul", "BatchNormalization", "Relu", "ReduceMax", "ScatterND", "Transpose")
    ]
    sizes = [[d.dim_value for d in o.type.tensor_type.shape.dim] for o in graph.output]
    assert sizes == [[1, 8, 12, 18], [1, 8, 12, 42], [1, 8, 12, 12]]


def test_every_published_row_has_a_network_or_a_reason():
    assert len(ROWS) == 43
    for row in ROWS.values():
        assert row.network in NETWORKS if row.network else row.reason


def test_the_tool_writes_a_graph_that_onnx_reads(run, tmp_path):
    done = run("latency_networks/write_networks.py", "--out", tmp_path, "--only", "resnet18")
    assert done.returncode == 0, done.stderr
    assert "11.69 M parameters" in done.stdout
    model = onnx.load(tmp_path / "resnet18.onnx")
    assert [n.op_type for n in model.graph.node].count("Conv") == 20  # 17, and 3 on shortcuts
    assert model.graph.output[0].type.tensor_type.shape.dim[1].dim_value == 1000
    rows = list(csv.DictReader((tmp_path / "rows.csv").open()))
    assert len(rows) == len(ROWS)
    assert rows[0] == {
        "model": "YOLO26n",
        "input": "1x3x640x640",
        "network": "yolo26n",
        "reason": "",
    }


def test_the_tool_keeps_files_and_names_what_it_knows(run, refused, tmp_path):
    (tmp_path / "resnet18.onnx").write_text("mine")
    done = run("latency_networks/write_networks.py", "--out", tmp_path, "--only", "resnet18")
    assert "--force" in done.stdout
    assert (tmp_path / "resnet18.onnx").read_text() == "mine"
    message = refused("latency_networks/write_networks.py", "--out", tmp_path, "--only", "resnet9")
    assert "resnet9" in message
    assert "resnet18" in message
