"""The three tools as a user calls them, in this process."""

import cv2
import numpy as np
import pytest
import torch
from onnxscript import optimizer
from toys_families import tiny_config, tiny_detector
from toys_pillars import pillar_config, pillar_detector

import kd3d.export.precisions
import kd3d.export.proof
from kd3d.backends.bundle import Bundle
from kd3d.backends.tolerances import Tolerances
from kd3d.errors import UserError
from kd3d.export.gate.parity_gate import parity_gate
from kd3d.export.graphs.graph_parts import save_model
from kd3d.export.graphs.tracing import traced
from kd3d.export.networks.deployable import deployable
from kd3d.report.record import Record


def test_export_then_benchmark(call, checkpoint, tmp_path):
    out = tmp_path / "out"
    arguments = (*checkpoint("gfl"), "--out", out, "--role", "baseline", "--name", "b/seed0")
    code, text, _ = call("export.py", *arguments)
    assert code == 0
    assert "fp32 parity over 2 inputs: passed" in text
    assert text.endswith(f"wrote {out}: fp32\n")
    exported = Record.read(out / "record-export.json")
    assert (exported.role, exported.conditions["input"]) == ("baseline", "64x96")

    code, _, errors = call("export.py", *arguments)
    assert (code, errors) == (
        2,
        f"error: {out} exists; replace it with --force or choose another --out\n",
    )
    assert call("export.py", *arguments, "--force")[0] == 0

    both = ("benchmark.py", out, "--backend", "onnxruntime", "pytorch", "--threads", 1)
    code, text, _ = call(*both)
    assert code == 0
    assert "out: pytorch fp32: on cpu, input 64x96, batch 1, threads 1, " in text
    names = [f"record-latency-{backend}-threads1.json" for backend in ("onnxruntime", "pytorch")]
    paths = [out / name for name in names]
    assert text.endswith("".join(f"wrote {path}\n" for path in paths))
    latency = Record.read(paths[0])
    assert (latency.role, latency.name) == ("baseline", "b/seed0")
    assert (latency.metrics["iterations"], latency.conditions["turns"]) == (200, 10)
    code, _, errors = call(*both)
    assert (code, errors) == (2, f"error: {paths[0]} exists; measure again with --force\n")
    other = call("benchmark.py", out, "--backend", "onnxruntime", "--threads", 2)
    assert other[1].endswith(f"wrote {out / 'record-latency-onnxruntime-threads2.json'}\n")
    assert Record.read(paths[0]).conditions["threads"] == 1  # not replaced
    code, text, errors = call(*both, "--force", "--budget-ms", 1e-6, "--budget-by", "p50")
    assert code.count("is over the budget of 1e-06 ms") == 2  # exit code 1, on stderr
    code, text, _ = call("compare_latency.py", *paths)
    assert code == 0
    assert text.splitlines()[0] == "first: baseline, b/seed0, config.py, onnxruntime, fp32, 64x96"


def test_failed_parity_leaves_only_the_rejected_folder(call, checkpoint, tmp_path, monkeypatch):
    unreachable = Tolerances(relative=-1.0)
    monkeypatch.setitem(kd3d.export.proof.TOLERANCES, "fp32", unreachable)
    out = tmp_path / "exports" / "student"
    code, text, _ = call("export.py", *checkpoint("retinanet"), "--out", out)
    assert code == f"parity of fp32 failed; see {out}.rejected"  # exit code 1, on stderr
    assert "wrote" not in text
    assert "FAILED" in text
    assert [path.name for path in out.parent.iterdir()] == ["student.rejected"]
    rejected = Record.read(out.parent / "student.rejected" / "record-export.json")
    assert rejected.conditions["passed"] is False


def test_mistakes_are_one_line(call, checkpoint, tmp_path):
    config, weights = checkpoint("retinanet")
    out = ("--out", tmp_path / "out")
    for arguments, words in (
        ((tmp_path / "absent.py", weights, *out), "no such file"),
        ((config, tmp_path / "absent.pth", *out), "no such file"),
        ((config, weights, *out, "--input-size", 50, 50), "multiples of 32"),
        ((config, weights, *out, "--opset", 20), "expected 13 to 17"),
        ((config, weights, *out, "--image", tmp_path / "absent.jpg"), "no image at"),
        (
            ("mmdet::detr/detr_r50_8xb2-150e_coco.py", weights, *out),
            "does not fit DETR of its config",
        ),
    ):
        code, text, errors = call("export.py", *arguments)
        assert (code, text) == (2, "")
        assert errors.startswith("error: ")
        assert errors.count("\n") == 1
        assert words in errors
    no_image = tmp_path / "notimage.jpg"
    no_image.write_text("no image")
    code, _, errors = call("export.py", config, weights, *out, "--image", no_image)
    assert code == 2
    assert errors.splitlines()[-1].startswith(f"error: {no_image}: the test pipeline cannot read")
    assert not (tmp_path / "out").exists()


def test_threads_are_counted_from_one(call, tmp_path):
    for threads in (0, -2):
        for place in ((), ("--host", "user@orin")):
            flags = ("--backend", "onnxruntime", "--threads", threads, *place)
            code, text, errors = call("benchmark.py", tmp_path, *flags)
            assert (code, text) == (2, "")
            assert errors.startswith(f"error: {threads} threads: expected 1 or more")


def test_a_failed_int8_file_says_what_to_try(call, checkpoint, tmp_path, monkeypatch):
    monkeypatch.setitem(kd3d.export.proof.TOLERANCES, "int8", Tolerances(relative=-1.0))
    image = tmp_path / "grey.png"
    cv2.imwrite(str(image), np.full((64, 96, 3), 99, np.uint8))
    out = tmp_path / "student"
    flags = ("--out", out, "--precision", "int8", "--image", image)
    code, *_ = call("export.py", *checkpoint("retinanet"), *flags)
    assert code.startswith(f"parity of int8 failed; see {out}.rejected; try --calibration 128 or")
    assert code.endswith("or leave int8 out of --precision")
    code, *_ = call("export.py", *checkpoint("retinanet"), *flags, "--calibration", "8", "--force")
    assert "--calibration 64 or more" in code


def test_what_passed_is_published_beside_what_failed(call, checkpoint, tmp_path, monkeypatch):
    monkeypatch.setitem(kd3d.export.proof.TOLERANCES, "fp16", Tolerances(relative=-1.0))
    image = tmp_path / "grey.png"
    cv2.imwrite(str(image), np.full((64, 96, 3), 99, np.uint8))
    out = tmp_path / "exports" / "student"
    flags = ("--out", out, "--precision", "fp16", "int8", "--image", image)
    code, text, _ = call("export.py", *checkpoint("retinanet"), *flags)
    assert code == f"parity of fp16 failed; see {out}.rejected"
    assert text.splitlines()[-1] == f"wrote {out}: fp32, int8"
    rejected = out.with_name("student.rejected")
    assert sorted(out.parent.iterdir()) == [out, rejected]
    assert list(Bundle.read(rejected).models) == ["fp32", "fp16", "int8"]
    bundle = Bundle.read(out)
    assert list(bundle.models) == ["fp32", "int8"]
    gone = {path.name for path in rejected.iterdir()} - {path.name for path in out.iterdir()}
    assert gone == {"model-fp16.onnx", "record-parity-onnxruntime-fp16.json"}
    with pytest.raises(UserError, match="fp16"):
        bundle.model_path("fp16")
    assert parity_gate(out, say=lambda _: None, backends=["onnxruntime"]).passed


def test_what_cannot_be_made_after_a_failure_loses_nothing(call, checkpoint, tmp_path, monkeypatch):
    """No data to calibrate int8 on: an error by itself, but fp16 has failed before."""
    out = tmp_path / "exports" / "student"
    flags = ("--out", out, "--precision", "fp16", "int8")
    code, _, errors = call("export.py", *checkpoint("retinanet"), *flags)
    assert (code, list(out.parent.iterdir())) == (2, [])
    assert "error: int8 needs real images" in errors
    monkeypatch.setitem(kd3d.export.proof.TOLERANCES, "fp16", Tolerances(relative=-1.0))
    code, text, _ = call("export.py", *checkpoint("retinanet"), *flags)
    assert code.startswith(f"parity of fp16 failed; see {out}.rejected; int8 was not made: int8 ne")
    assert text.splitlines()[-1] == f"wrote {out}: fp32"
    rejected = out.with_name("student.rejected")
    assert sorted(out.parent.iterdir()) == [out, rejected]
    assert list(Bundle.read(rejected).models) == ["fp32", "fp16"]
    assert list(Bundle.read(out).models) == ["fp32"]


def test_a_file_that_is_refused_once_written_does_not_stay(call, checkpoint, tmp_path, monkeypatch):
    """As one is that has an operator which TensorRT does not take."""
    image = tmp_path / "grey.png"
    cv2.imwrite(str(image), np.full((64, 96, 3), 99, np.uint8))

    def refuse(path):
        if path.name == "model-int8.onnx":
            raise UserError(f"{path} has an odd operator")

    monkeypatch.setattr(kd3d.export.precisions, "require_operators", refuse)
    monkeypatch.setitem(kd3d.export.proof.TOLERANCES, "fp16", Tolerances(relative=-1.0))
    out = tmp_path / "student"
    flags = ("--out", out, "--precision", "fp16", "int8", "--image", image)
    code, *_ = call("export.py", *checkpoint("retinanet"), *flags)
    assert code.endswith("has an odd operator")
    for folder in (out, tmp_path / "student.rejected"):
        assert (folder / "model.onnx").is_file()
        assert not (folder / "model-int8.onnx").exists()


def test_pillar_detector_needs_no_size(call, tmp_path):
    cfg = pillar_config("pointpillars")
    cfg.dump(tmp_path / "config.py")
    torch.save({"state_dict": pillar_detector(cfg).state_dict()}, tmp_path / "weights.pth")
    out = tmp_path / "out"
    files = (tmp_path / "config.py", tmp_path / "weights.pth", "--out", out)
    code, _, errors = call("export.py", *files, "--input-size", 64, 64)
    assert (code, errors.count("\n")) == (2, 1)
    assert "this detector reads points" in errors
    code, text, _ = call("export.py", *files, "--batch", 2, "--opset", 13, "--role", "teacher")
    assert code == 0
    assert "fp32 parity over 2 inputs: passed" in text
    exported = Record.read(out / "record-export.json")
    assert (exported.role, exported.conditions["batch"]) == ("teacher", 2)
    assert exported.conditions["input"] == "32x32 pillars of 0.4 m"
    code, text, _ = call("benchmark.py", out, "--backend", "pytorch", "--threads", 1)
    assert code == 0
    assert "voxelization on the host" in text
    latency = Record.read(out / "record-latency-pytorch-threads1.json")
    assert latency.metrics["voxelization_p50_ms"] > 0


def someone_elses_file(detector, images, folder):
    """An ONNX file with batch norm folded and nothing else done to it."""
    module = deployable(detector)
    model = traced(module, {"images": images}, output_names=module.output_names, opset=16)
    return save_model(optimizer.optimize(model), folder / "m.onnx")


def test_weights_from_onnx(call, build, checkpoint, tmp_path):
    detector, _ = build("yolox")
    config, _ = checkpoint("yolox")
    source = someone_elses_file(detector, torch.zeros(1, 3, 64, 96), tmp_path)
    out = tmp_path / "found.pth"
    code, text, _ = call("weights_from_onnx.py", config, source, "--out", out)
    assert code == 0
    assert text.endswith(f"wrote {out}\n")
    saved = torch.load(out, weights_only=True)
    assert list(saved["state_dict"]) == list(detector.state_dict())
    assert saved["meta"]["dataset_meta"]["classes"] == ["car", "person", "bicycle"]
    code, _, errors = call("weights_from_onnx.py", config, source, "--out", out)
    assert code == 2
    assert errors == f"error: {out} exists; replace it with --force, or give another --out\n"
    code, _, errors = call(
        "weights_from_onnx.py", config, tmp_path / "no.onnx", "--out", out, "--force"
    )
    assert (code, errors) == (2, f"error: no ONNX file at {tmp_path / 'no.onnx'}\n")


def test_weights_from_onnx_of_a_detector_of_grey_images(call, tmp_path):
    cfg = tiny_config("retinanet")
    cfg.model.backbone.in_channels = 1
    cfg.model.data_preprocessor.update(mean=[100.0], std=[50.0], bgr_to_rgb=False)
    cfg.dump(tmp_path / "config.py")
    source = someone_elses_file(tiny_detector(cfg), torch.zeros(1, 1, 64, 96), tmp_path)
    out = tmp_path / "found.pth"
    code, text, _ = call("weights_from_onnx.py", tmp_path / "config.py", source, "--out", out)
    assert (code, text.splitlines()[-1]) == (0, f"wrote {out}")


@pytest.mark.parametrize(
    "tool", ["export.py", "benchmark.py", "compare_latency.py", "weights_from_onnx.py"]
)
def test_help_shows_a_command(call, tool):
    code, text, _ = call(tool, "--help")
    assert code == 0
    assert f"python tools/{tool} " in text
