"""The gate on toy exports: a right one passes, each seeded fault is caught and its layer named."""

import json
import shutil

import numpy as np
import onnx
import pytest
from mmengine.config import Config
from onnx import helper, numpy_helper
from toys_pillars import SOURCE, pillar_config, pillar_detector

import kd3d.export.gate.candidates
import kd3d.export.open_backend
from kd3d.backends.bundle import FILE_NAME, MODEL_FILES, Bundle, ModelFile
from kd3d.backends.ort import OnnxRuntimeBackend
from kd3d.backends.parity import tensor_difference
from kd3d.backends.ssh import Host
from kd3d.backends.tolerances import TOLERANCES
from kd3d.errors import UserError
from kd3d.export.gate.comparison import align_of
from kd3d.export.gate.parity_gate import parity_gate, verdict_record
from kd3d.export.gate.parity_record import parity_record_file
from kd3d.export.gate.parity_table import tolerance_change
from kd3d.export.image_export import export_images
from kd3d.export.pillar_export import export_pillars
from kd3d.export.pillar_manifest import read_manifest
from kd3d.report.record import Record

SETTINGS = {"opset": 17, "classes": ["car", "person", "bicycle"], "source": SOURCE}
HEAD_LAYER, HEAD_LAYER_1 = "/bbox_head/retina_cls/Conv", "/bbox_head/retina_cls_1/Conv"


@pytest.fixture(scope="module")
def images(tmp_path_factory, build):
    """A right export of a toy RetinaNet; copy it before changing it."""
    folder = tmp_path_factory.mktemp("images")
    detector, cfg = build("retinanet")
    export_images(detector, cfg, folder, size=(64, 96), **SETTINGS)
    return folder


@pytest.fixture(scope="module")
def pillars(tmp_path_factory):
    """A right export of a toy CenterPoint."""
    folder = tmp_path_factory.mktemp("pillars")
    cfg = pillar_config("centerpoint")
    settings = {**SETTINGS, "classes": ["car", "truck", "pedestrian"]}
    export_pillars(pillar_detector(cfg), cfg, folder, batch=1, **settings)
    return folder


def gate(folder, **options):
    return parity_gate(folder, say=lambda text: None, **options)


def add_model(folder, precision, model):
    """Writes a model and names it in export.json, as if it had been exported so."""
    path = folder / MODEL_FILES[precision]
    onnx.save(model, path)
    content = json.loads((folder / FILE_NAME).read_text())
    content["models"][precision] = ModelFile.of(path).as_json()
    (folder / FILE_NAME).write_text(json.dumps(content))


def changed(folder, tmp_path, change, precision="fp32"):
    """A copy of an export whose graph was changed."""
    copied = shutil.copytree(folder, tmp_path / "faulty")
    model = onnx.load(copied / "model.onnx")
    change(model)
    add_model(copied, precision, model)
    return copied


def node_of(model, name):
    """The node, and its weights as an initializer."""
    node = next(node for node in model.graph.node if node.name == name)
    return node, next(w for w in model.graph.initializer if w.name == node.input[1])


def conv_names(folder):
    return [n.name for n in onnx.load(folder / "model.onnx").graph.node if n.op_type == "Conv"]


def change_weights(name, change):
    def apply(model):
        _, weight = node_of(model, name)
        array = change(numpy_helper.to_array(weight).copy()).astype(np.float32)
        weight.CopyFrom(numpy_helper.from_array(array, weight.name))

    return apply


def quantise(name, scale):
    """Q/DQ on what a node reads: INT8 by hand; a range that is too small clips."""

    def apply(model):
        node, _ = node_of(model, name)
        places = [i for i, other in enumerate(model.graph.node) if other.name == name]
        constants = {"test.scale": np.float32(scale), "test.zero": np.int8(0)}
        for key, value in constants.items():
            model.graph.initializer.append(numpy_helper.from_array(np.asarray(value), key))
        pair = [
            helper.make_node("QuantizeLinear", [node.input[0], *constants], ["test.q"]),
            helper.make_node("DequantizeLinear", ["test.q", *constants], ["test.dq"]),
        ]
        node.input[0] = "test.dq"
        nodes = list(model.graph.node)
        nodes[places[0] : places[0]] = pair
        del model.graph.node[:]
        model.graph.node.extend(nodes)

    return apply


def test_a_right_export_passes(images, tmp_path):
    copied = shutil.copytree(images, tmp_path / "right")
    found = gate(copied)
    assert found.passed
    (verdict,) = found.verdicts
    assert (verdict.backend, verdict.precision) == ("onnxruntime", "fp32")
    assert verdict.departure is None
    assert verdict.parity.inputs == 1  # no data set here: the sample alone
    assert any("tensorrt" in reason for reason in found.left_out)
    record = verdict_record(copied, found, verdict)
    path = record.write(tmp_path / "record-parity-onnxruntime-fp32.json")
    assert Record.read(path).conditions["passed"] is True
    assert record.conditions["reference"] == "pytorch"


def test_a_right_pillar_export_passes(pillars):
    assert gate(pillars).passed


@pytest.mark.parametrize(("others", "seen"), [(2, False), (10, True)])
def test_few_rows_near_the_lowest_score_may_be_other_ones(pillars, others, seen):
    expected, limits = Bundle.read(pillars).expected_outputs(), TOLERANCES["int8"]
    received = {name: array.copy() for name, array in expected.items()}
    received["boxes"][:, -others:, :2] += 50
    found = align_of(read_manifest(pillars), limits)(expected, received)
    assert (tensor_difference(expected["boxes"], found["boxes"]).rms > limits.rms) is seen


def swap(weight):
    return weight[[1, 0, *range(2, len(weight))]]


def make_nan(weight):
    weight.flat[3] = np.nan
    return weight


@pytest.mark.parametrize("which", ["first", "middle", HEAD_LAYER])
@pytest.mark.parametrize("fault", [lambda weight: 0.02 * weight, swap, make_nan])
def test_faults_of_a_layer_are_caught_and_named(images, tmp_path, which, fault):
    names = conv_names(images)
    name = {"first": names[0], "middle": names[len(names) // 2]}.get(which, which)
    found = gate(changed(images, tmp_path, change_weights(name, fault)))
    assert not found.passed
    (verdict,) = found.verdicts
    assert not verdict.parity.tensors_agree
    first = verdict.departure.first
    assert first.operator == "Conv"
    # the head's layers are run on both levels: either is the first
    assert first.node in ((name, HEAD_LAYER_1) if name == HEAD_LAYER else (name,))
    record = verdict_record(tmp_path / "faulty", found, verdict)
    assert record.conditions["passed"] is False
    assert record.conditions["departs_at"] == first.layer


def test_int8_with_a_right_scale_passes_and_with_a_wrong_one_is_named(images, tmp_path):
    right, wrong = (
        changed(images, tmp_path / str(scale), quantise(HEAD_LAYER, scale), "int8")
        for scale in (0.02, 0.0005)
    )
    assert gate(right).passed
    found = gate(wrong)
    good, bad = found.verdicts
    assert good.passed
    assert (bad.precision, bad.passed) == ("int8", False)
    assert bad.departure.first.node == HEAD_LAYER
    assert gate(wrong, precisions=["fp32"]).passed


def test_pillar_constant_is_named(pillars, tmp_path):
    """What the decoration subtracts is a constant of the graph: the cell's centre."""

    def shift(model):
        graph = model.graph
        subtractions = [node for node in graph.node if node.op_type in ("Sub", "Add", "Mul")]
        constants = {w.name: w for w in graph.initializer}
        node = next(n for n in subtractions if n.input[1] in constants)
        weight = constants[node.input[1]]
        array = numpy_helper.to_array(weight)
        weight.CopyFrom(numpy_helper.from_array(array + np.float32(0.7), weight.name))
        changed_nodes.append(node.name)

    changed_nodes = []
    found = gate(changed(pillars, tmp_path, shift))
    assert not found.passed
    assert found.verdicts[0].departure.first.node == changed_nodes[0]


@pytest.mark.parametrize(
    ("entry", "value", "words"),
    [
        (("preprocessing", "mean"), [0.0, 0.0, 0.0], "preprocessing.mean is [0.0, 0.0, 0.0]"),
        (("preprocessing", "bgr_to_rgb"), None, "preprocessing.bgr_to_rgb"),
        (("postprocessing", "score_threshold"), 0.4, "postprocessing.score_threshold is 0.4"),
    ],
)
def test_changed_constants_of_export_json_are_caught(images, tmp_path, entry, value, words):
    copied = shutil.copytree(images, tmp_path / "faulty")
    content = json.loads((copied / FILE_NAME).read_text())
    part, name = entry
    content[part][name] = not content[part][name] if value is None else value
    (copied / FILE_NAME).write_text(json.dumps(content))
    found = gate(copied)
    assert not found.passed
    assert len(found.inputs.faults) == 1
    assert words in found.inputs.faults[0]


@pytest.mark.parametrize("kind", ["images", "pillars"])
def test_another_order_of_the_classes_is_caught(request, tmp_path, kind):
    copied = shutil.copytree(request.getfixturevalue(kind), tmp_path / "faulty")
    content = json.loads((copied / FILE_NAME).read_text())
    first, second, third = content["classes"]
    content["classes"] = [second, first, third]
    (copied / FILE_NAME).write_text(json.dumps(content))
    (fault,) = gate(copied).inputs.faults
    assert fault == (
        f"export.json: classes is {[second, first, third]}, the config says "
        f"{[first, second, third]}"
    )


def test_classes_that_the_config_does_not_name_are_the_checkpoints(images, tmp_path):
    copied = shutil.copytree(images, tmp_path / "right")
    cfg = Config.fromfile(copied / "config.py")
    del cfg.test_dataloader.dataset["metainfo"]
    cfg.dump(copied / "config.py")
    content = json.loads((copied / FILE_NAME).read_text())
    content["classes"] = ["x", "y", "z"]
    (copied / FILE_NAME).write_text(json.dumps(content))
    assert gate(copied).inputs.faults == []


def test_a_changed_pipeline_of_points_is_caught(pillars, tmp_path):
    copied = shutil.copytree(pillars, tmp_path / "faulty")
    content = json.loads((copied / FILE_NAME).read_text())
    content["preprocessing"]["pipeline"].append({"type": "PointSample", "num_points": 100})
    (copied / FILE_NAME).write_text(json.dumps(content))
    (fault,) = gate(copied).inputs.faults
    assert fault.startswith("export.json: preprocessing.pipeline is [")
    assert "PointSample" in fault


def test_changed_voxel_size_and_sample_are_caught(pillars, tmp_path):
    copied = shutil.copytree(pillars, tmp_path / "faulty")
    content = json.loads((copied / FILE_NAME).read_text())
    content["voxelization"]["max_num_points"] -= 1
    (copied / FILE_NAME).write_text(json.dumps(content))
    with pytest.raises(UserError, match="expected float32"):  # the sample has one point more
        gate(copied)
    content["voxelization"]["max_num_points"] += 1
    content["voxelization"]["range_m"][0] -= 0.1
    (copied / FILE_NAME).write_text(json.dumps(content))
    assert any("voxelization.range_m" in fault for fault in gate(copied).inputs.faults)
    with np.load(copied / "sample.npz") as sample:
        arrays = dict(sample)
    arrays["output/boxes"] = arrays["output/boxes"] * 1.1
    np.savez(copied / "sample.npz", **arrays)
    with pytest.raises(UserError, match=r"sample.npz: its SHA-256 is"):
        gate(copied)
    del content["sample_sha256"]
    (copied / FILE_NAME).write_text(json.dumps(content))
    assert any("sample.npz: output 'boxes'" in fault for fault in gate(copied).inputs.faults)


def test_without_weights_the_sample_is_the_reference(images, tmp_path):
    right = shutil.copytree(images, tmp_path / "right")
    (right / "weights.pth").unlink()
    found = gate(right)
    assert found.passed
    assert found.inputs.module is None
    assert verdict_record(right, found, found.verdicts[0]).conditions["reference"] == "sample.npz"
    faulty = changed(right, tmp_path, change_weights(HEAD_LAYER, lambda w: 0.5 * w), "fp16")
    bad = next(verdict for verdict in gate(faulty).verdicts if verdict.precision == "fp16")
    assert bad.departure.first.node in (HEAD_LAYER, HEAD_LAYER_1)


def test_mistakes(images, tmp_path):
    with pytest.raises(UserError, match="holds fp32, not 'int8'"):
        gate(images, precisions=["int8"])
    with pytest.raises(UserError, match="no export folder"):
        gate(tmp_path)
    with pytest.raises(UserError, match="tensorrt"):
        gate(images, backends=["tensorrt"])
    copied = shutil.copytree(images, tmp_path / "copied")
    with (copied / "model.onnx").open("ab") as stream:
        stream.write(b"1")
    with pytest.raises(UserError, match="SHA-256"):
        gate(copied)


def test_tolerances_can_be_changed(images, tmp_path):
    faulty = changed(images, tmp_path, change_weights(HEAD_LAYER, lambda w: 1.02 * w))
    assert not gate(faulty).passed
    loose = [
        tolerance_change(text) for text in ("relative=1", "rms=1", "part=1", "score=1", "iou=0.9")
    ]
    assert gate(faulty, changes=dict(loose)).passed
    for text in ("height=1", "rms", "rms=much"):
        with pytest.raises(UserError, match="expected NAME=VALUE"):
            tolerance_change(text)


def test_a_vehicle_runs_the_candidates(images, tmp_path, monkeypatch):
    asked, parts = [], []

    def remote(bundle, host, backend, *, precision="fp32", say, keep=True):
        (asked if keep else parts).append((host.name, backend, precision))
        return OnnxRuntimeBackend(bundle.model_path(precision))

    for module in (kd3d.export.gate.candidates, kd3d.export.open_backend):
        monkeypatch.setattr(module, "RemoteBackend", remote)
    faulty = changed(images, tmp_path, change_weights(HEAD_LAYER, lambda w: 0.5 * w), "fp16")
    found = gate(faulty, host=Host("driver@orin"), metric_samples=4)
    assert asked == [("orin", "tensorrt", "fp32"), ("orin", "tensorrt", "fp16")]
    assert [verdict.passed for verdict in found.verdicts] == [True, False]
    assert found.verdicts[1].departure.first.node in (HEAD_LAYER, HEAD_LAYER_1)
    assert len(parts) > 2
    assert set(parts) == {("orin", "tensorrt", "fp32")}
    assert not any("orin" in reason for reason in found.left_out)
    name = parity_record_file("tensorrt", "fp16", found.host)
    assert name == "record-parity-tensorrt-fp16-on-orin.json"
    assert verdict_record(faulty, found, found.verdicts[1]).conditions["host"] == "orin"


def test_hash_of_the_verdict_is_that_of_the_file(images):
    found = gate(images)
    record = verdict_record(images, found, found.verdicts[0])
    assert record.conditions["model_sha256"] == Bundle.read(images).models["fp32"].sha256
