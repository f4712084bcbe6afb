"""Damage to a level, branch, channel or the decoding of each family's INT8 file is found."""

import copy
import json
import shutil
from dataclasses import replace

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from onnx_damage import KINDS, damaged, put_in_place
from toys import traffic
from toys_pillars import MODELS as PILLARS
from toys_pillars import SOURCE, frames, pillar_config, pillar_detector

from kd3d.backends.bundle import FILE_NAME, MODEL_FILES, Bundle, ModelFile
from kd3d.backends.head_noise import ENTRY
from kd3d.backends.ort import OnnxRuntimeBackend
from kd3d.backends.tolerances import Tolerances
from kd3d.export.gate.comparison import decoding_align_of
from kd3d.export.gate.inner_parity import inner_parity
from kd3d.export.gate.parity_gate import parity_gate, verdict_record
from kd3d.export.gate.parity_table import gate_tables
from kd3d.export.graphs.half_precision import fp16_from_onnx
from kd3d.export.image_export import export_images
from kd3d.export.int8.quantize import int8_from_onnx
from kd3d.export.pillar_export import cloud_feeds, export_pillars
from kd3d.export.pillar_manifest import read_manifest
from kd3d.export.preprocessing import image_input
from kd3d.export.proof import export_parity, parity_text

IMAGES = ("atss", "detr", "faster_rcnn", "fcos", "gfl", "retinanet", "rtmdet", "yolox")
SETTINGS = {"opset": 17, "classes": ["car", "person", "bicycle"], "source": SOURCE}
LIMIT = Tolerances().head_noise
OLDER = "export.json does not say what noise was accepted; export again"


def inside(bundle, precision, feeds, *, real=True):
    """What is found in a file."""
    align = decoding_align_of(read_manifest(bundle.folder))
    return inner_parity(
        bundle, precision, feeds, real=real, align=align, open_file=OnnxRuntimeBackend
    )


class Quantised:
    """An export with its INT8 and fp16 files, and inputs that these were not calibrated on."""

    def __init__(self, exported, feeds):
        self.feeds = feeds[:8]
        source = exported.folder / "model.onnx"
        models = dict(exported.manifest.models)
        for precision, make in (("int8", int8_from_onnx), ("fp16", fp16_from_onnx)):
            path = exported.folder / MODEL_FILES[precision]
            models[precision] = ModelFile.of(path, make(source, path, feeds[8:]).as_json())
        self.exported = replace(exported, manifest=replace(exported.manifest, models=models))
        self.exported.manifest.write(exported.folder)

    def heads(self, precision, model=None, folder=None):
        """The differences of a file, or of a model in its place."""
        bundle = self.changed(folder, model) if model else Bundle.read(self.exported.folder)
        return inside(bundle, precision, self.feeds).heads

    def changed(self, folder, model):
        """A copy whose INT8 file is another, as if it had been exported so."""
        shutil.copytree(self.exported.folder, folder, dirs_exist_ok=True)
        put_in_place(folder, "int8", model)
        return Bundle.read(folder)

    def model(self):
        return onnx.load(self.exported.folder / MODEL_FILES["int8"])


@pytest.fixture(scope="module")
def quantised(build, tmp_path_factory):
    """Of a family; made once."""
    made = {}
    pictures = tmp_path_factory.mktemp("pictures")
    traffic(pictures, images=40)
    files = sorted(pictures.glob("*.png"))

    def get(family):
        if family not in made:
            folder = tmp_path_factory.mktemp(family)
            made[family] = Quantised(*_export(family, folder, files, build))
        return made[family]

    return get


def _export(family, folder, files, build):
    if family in PILLARS:
        cfg = pillar_config(family)
        exported = export_pillars(pillar_detector(cfg), cfg, folder, batch=1, **SETTINGS)
        return exported, cloud_feeds(frames(24), exported.manifest)
    detector, cfg = build(family)
    images = [image_input(cfg, detector, path, (64, 96)) for path in files]
    exported = export_images(detector, cfg, folder, size=(64, 96), images=files[:4], **SETTINGS)
    return exported, [{exported.manifest.input_name: image} for image in images]


@pytest.mark.parametrize("family", [*IMAGES, *PILLARS])
def test_noise_of_honest_files_passes_on_other_inputs(family, quantised):
    export = quantised(family)
    for precision in ("int8", "fp16"):
        found = export.heads(precision)
        assert len(found) >= 2
        worst = max(found, key=lambda head: head.ratio)
        assert worst.ratio < LIMIT, (precision, worst)
        decoding = inside(Bundle.read(export.exported.folder), precision, export.feeds).decoding
        assert {"boxes", "scores"} <= set(decoding)
        # both compute it in float32 here, but for what fp16 rounds
        limit = 1e-3 if precision == "fp16" else 1e-6
        assert max(found.rms for found in decoding.values()) < limit, (precision, decoding)
    if family in IMAGES:  # the sample is of a real image
        result = export_parity(export.exported, "int8")
        assert result.passed, parity_text(result, "int8")
        assert len(result.heads) >= 2


@pytest.mark.parametrize("family", [*IMAGES, *PILLARS])
def test_each_kind_of_damage_to_any_head_is_caught(family, quantised, tmp_path):
    export = quantised(family)
    heads = [difference.head for difference in export.heads("int8")]
    assert len(heads) >= 2
    model, missed, tried = export.model(), [], set()
    for index, head in enumerate(heads):
        for turn in range(len(KINDS) if len(heads) < 4 else 2):
            kind = KINDS[(index + turn) % len(KINDS)]
            faulty = damaged(model, head, kind)
            if faulty is None:  # a range that is not there, or a single channel
                continue
            tried.add(kind)
            found = {d.head: d.ratio for d in export.heads("int8", faulty, tmp_path / "faulty")}
            if found[head] <= LIMIT:
                missed.append((head, kind, found[head]))
    assert not missed
    assert tried == set(KINDS)


def test_damage_that_no_box_shows_fails_the_gate_and_is_named(quantised, tmp_path):
    """The second level's boxes are the larger ones: what one of its anchors loses hides in them."""
    export = quantised("retinanet")
    head = "/bbox_head/retina_reg_1/Conv_output_0"
    folder = tmp_path / "faulty"
    export.changed(folder, damaged(export.model(), head, "zeroed"))
    found = parity_gate(folder, precisions=["int8"], say=lambda text: None)
    (verdict,) = found.verdicts
    assert verdict.parity.tensors_agree
    assert verdict.parity.parts_agree
    assert verdict.parity.boxes_agree
    assert not verdict.parity.heads_agree
    assert not verdict.passed
    assert verdict.departure.first.node == head.removesuffix("_output_0")
    assert verdict_record(folder, found, verdict).metrics["head_noise_ratio"] > LIMIT
    texts = [str(part) for part in gate_tables(found)]
    assert any(text.startswith(f"onnxruntime int8: last layers: {head}[") for text in texts)
    loose = parity_gate(
        folder, precisions=["int8"], changes={"head_noise": 1e6}, say=lambda text: None
    )
    assert loose.passed


def test_without_measured_noise_or_real_inputs_the_last_layers_are_left_out(quantised, tmp_path):
    export = quantised("retinanet")
    folder = shutil.copytree(export.exported.folder, tmp_path / "older")
    content = json.loads((folder / FILE_NAME).read_text())
    for precision in ("fp16", "int8"):
        del content["models"][precision][ENTRY]
    (folder / FILE_NAME).write_text(json.dumps(content))
    bundle, whole = Bundle.read(folder), Bundle.read(export.exported.folder)
    for precision in ("fp16", "int8"):
        found = inside(bundle, precision, export.feeds)
        assert not found.heads
        assert found.left_out == [f"last layers of {precision}: {OLDER}"]
        assert set(found.decoding) == {"boxes", "scores"}
    found = inside(whole, "int8", export.feeds, real=False)
    assert not found.heads
    assert "no real image" in found.left_out[0]
    assert set(found.decoding) == {"boxes", "scores"}
    found = inside(whole, "fp32", export.feeds)
    assert (found.heads, found.left_out) == ((), [])
    assert {difference.rms for difference in found.decoding.values()} == {0.0}
    found = parity_gate(folder, precisions=["int8"], say=lambda text: None)
    assert any(reason.startswith("last layers of int8: export.json") for reason in found.left_out)


def scaled_boxes(model, factor):
    """A copy whose boxes are multiplied behind everything else."""
    model = copy.deepcopy(model)
    last = next(node for node in model.graph.node if "boxes" in node.output)
    last.output[list(last.output).index("boxes")] = "boxes.right"
    model.graph.initializer.append(numpy_helper.from_array(np.float32(factor), "fault.factor"))
    model.graph.node.append(
        onnx.helper.make_node("Mul", ["boxes.right", "fault.factor"], ["boxes"], name="fault")
    )
    return model


@pytest.mark.parametrize("precision", ["int8", "fp16"])
@pytest.mark.parametrize("family", ["retinanet", "faster_rcnn", *PILLARS])
def test_boxes_decoded_wrongly_are_caught_whatever_their_score(
    family, precision, quantised, tmp_path
):
    """Rows whose scores nearly tie may be others, so outputs say little of a coarse file."""
    export = quantised(family)
    folder = shutil.copytree(export.exported.folder, tmp_path / "faulty")
    model = onnx.load(folder / MODEL_FILES[precision])
    put_in_place(folder, precision, scaled_boxes(model, 1.2))
    found = parity_gate(folder, precisions=[precision], say=lambda text: None)
    (verdict,) = found.verdicts
    assert not verdict.parity.decoding_agrees
    assert 0.1 < verdict.parity.decoding["boxes"].rms < 0.21  # 0.2, but for ties and whole turns
    assert verdict.parity.decoding["scores"].rms < 1e-3
    assert verdict.parity.heads_agree
    assert not verdict.passed
    assert verdict.departure is not None
    if precision == "int8":  # fp16 rounds scores: where they tie, another row is gathered
        assert verdict.departure.first.tensor == "boxes"
    assert verdict_record(folder, found, verdict).metrics["relative_rms_of_decoding"] > 0.1
    texts = [str(part) for part in gate_tables(found)]
    assert any(text.startswith(f"onnxruntime {precision}: decoding: boxes rms") for text in texts)


def test_a_fault_of_decoding_is_named_behind_the_sorting_and_its_noise(quantised, tmp_path):
    """INT8's noise before the sorting is larger than what would let one look behind it."""
    export = quantised("centerpoint")
    model = export.model()
    node = next(node for node in model.graph.node if node.op_type == "Exp")  # the sizes
    place = list(model.graph.node).index(node)
    made, node.output[0] = node.output[0], "fault.sizes"
    model.graph.initializer.append(numpy_helper.from_array(np.float32(1.3), "fault.factor"))
    fault = onnx.helper.make_node("Mul", ["fault.sizes", "fault.factor"], [made], name="fault")
    model.graph.node.insert(place + 1, fault)
    export.changed(tmp_path / "faulty", model)
    found = parity_gate(tmp_path / "faulty", precisions=["int8"], say=lambda text: None)
    (verdict,) = found.verdicts
    assert not verdict.parity.decoding_agrees
    assert verdict.departure.first.tensor == made
    assert all(layer.rms < 1e-6 for layer in verdict.departure.read)
