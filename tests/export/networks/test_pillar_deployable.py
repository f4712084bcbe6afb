import numpy as np
import onnx
import pytest
import torch
from mmdet3d.models.dense_heads import centerpoint_head
from toys_pillars import MODELS, arrays, frames, pillar_config, pillar_detector, raw_batch

from kd3d.backends.box_matching import matching_boxes
from kd3d.backends.ort import OnnxRuntimeBackend
from kd3d.backends.parity import Tolerances
from kd3d.errors import UserError
from kd3d.export.detections.final_boxes3d import post_processing3d
from kd3d.export.gate.row_order import in_reference_order
from kd3d.export.graphs.onnx_model import onnx_from_model
from kd3d.export.graphs.operators import check_operators
from kd3d.export.networks.pillar_deployable import INPUT_NAMES, pillar_deployable
from kd3d.export.voxelization import network_feeds


@pytest.fixture(scope="module", params=sorted(MODELS))
def case(request, tmp_path_factory):
    """(module of two frames a run, its file), made once for each model."""
    module = pillar_deployable(pillar_detector(pillar_config(request.param)), batch=2)
    path = tmp_path_factory.mktemp("export") / "model.onnx"
    onnx_from_model(
        module,
        dict(zip(INPUT_NAMES, module.example(7), strict=True)),
        path,
        output_names=module.output_names,
        dynamic_axes={name: {0: "pillars"} for name in INPUT_NAMES},
    )
    return module, path


def outputs_of(module, feeds):
    with torch.no_grad():
        outputs = module(*(torch.from_numpy(feeds[name]) for name in INPUT_NAMES))
    return {n: o.numpy() for n, o in zip(module.output_names, outputs, strict=True)}


def assert_close(module, found, expected):
    assert {n: a.dtype for n, a in found.items()} == {n: a.dtype for n, a in expected.items()}
    # empty cells tie exactly, and each program takes others of them
    found = in_reference_order(expected, found, module.groups, box=1e-4, tied=1e-4, lost=0.0)
    for name, array in expected.items():
        np.testing.assert_allclose(found[name], array, rtol=1e-4, atol=1e-4)


def test_detections_equal_those_of_mmdet3d(case, monkeypatch):
    # seconds of compiling saved
    monkeypatch.setattr(centerpoint_head, "circle_nms", centerpoint_head.circle_nms.py_func)
    module, _ = case
    clouds = frames(2)
    with torch.no_grad():
        expected = module.detector.test_step(raw_batch(clouds))
    settings = post_processing3d(module.head)
    outputs = outputs_of(module, network_feeds(clouds, module.voxelization))
    for frame, sample in enumerate(expected):
        found = settings({n: array[frame] for n, array in outputs.items()}, module.groups)
        theirs = arrays(sample.pred_instances_3d)
        assert len(theirs[1]) > 5
        ours = (found.boxes, found.scores, found.labels)
        pairs = len(matching_boxes(ours, theirs, Tolerances(box=1e-4, score=1e-5)))
        assert pairs == len(ours[1]) == len(theirs[1])


def test_one_file_takes_any_number_of_pillars(case):
    """Exported with 7; run with hundreds, with one, and with frames that have none."""
    module, path = case
    near, empty = frames(2), np.zeros((0, 5), dtype=np.float32)
    with OnnxRuntimeBackend(path, threads=1) as backend:
        for clouds in (near, [near[0][:1], empty], [empty, near[1]], [empty, empty]):
            feeds = network_feeds(clouds, module.voxelization)
            assert_close(module, backend.infer(feeds), outputs_of(module, feeds))


def test_padding_and_what_is_outside_the_grid_change_nothing(case):
    module, path = case
    feeds = network_feeds(frames(2), module.voxelization)
    count = len(feeds["num_points"])
    padded = {name: np.concatenate([a, np.zeros_like(a[:8])]) for name, a in feeds.items()}
    padded["coordinates"][count:] = -1
    outside = ([0, 0, 0, 32], [0, 0, 32, 0], [2, 0, 0, 0], [-1, 0, 3, 3], [0, 0, -1, 3])
    padded["coordinates"][count : count + 5] = outside
    padded["pillars"][count:] = 3.0
    padded["num_points"][count : count + 3] = 8
    expected = outputs_of(module, feeds)
    assert_close(module, outputs_of(module, padded), expected)
    with OnnxRuntimeBackend(path, threads=1) as backend:
        assert_close(module, backend.infer(padded), expected)


def test_pillars_of_the_batch_in_any_order(case):
    module, _ = case
    feeds = network_feeds(frames(2), module.voxelization)
    order = np.random.default_rng(0).permutation(len(feeds["num_points"]))
    shuffled = {name: array[order] for name, array in feeds.items()}
    assert_close(module, outputs_of(module, shuffled), outputs_of(module, feeds))


def test_file_holds_plain_operators_and_no_map(case):
    module, path = case
    graph = onnx.load(path).graph
    kinds = {node.op_type for node in graph.node}
    assert check_operators(path) == []
    assert {"ScatterND", "GatherElements", "TopK", "ConstantOfShape"} <= kinds
    assert not kinds & {"BatchNormalization", "Loop", "If", "NonZero", "Identity"}
    cells = 2 * 32 * 32 + 1  # the empty map must not be in the file
    assert all(list(tensor.dims) != [cells, 4] for tensor in graph.initializer)
    # everything but the number of pillars is fixed
    sizes = [[d.dim_value for d in o.type.tensor_type.shape.dim] for o in graph.output]
    assert all(shape[:2] == [2, sum(module.groups)] for shape in sizes)
    assert all(all(shape) for shape in sizes)


def test_input_is_not_written_to():
    """mmdet3d's legacy encoder overwrites the points it is given."""
    module = pillar_deployable(pillar_detector(pillar_config("centerpoint-rotated")))
    feeds = network_feeds(frames(1), module.voxelization)
    before = feeds["pillars"].copy()
    outputs_of(module, feeds)
    np.testing.assert_array_equal(feeds["pillars"], before)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"pts_voxel_encoder": {"type": "HardSimpleVFE", "num_features": 4}}, "HardSimpleVFE"),
        ({"pts_middle_encoder.output_shape": (16, 32)}, r"\(32, 32, 1\) cells.*\(32, 16, 1\)"),
        ({"data_preprocessor.voxel": False}, "no hard voxelisation"),
    ],
)
def test_what_cannot_be_exported_says_why(change, words):
    cfg = pillar_config("centerpoint")
    for key, value in change.items():
        if isinstance(value, dict):
            cfg.model[key] = value
        else:
            cfg.merge_from_dict({f"model.{key}": value})
    detector = pillar_detector(cfg)
    with pytest.raises(UserError, match=words):
        pillar_deployable(detector)
