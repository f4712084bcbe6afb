"""Nothing in a training step waits for a GPU, as far as that can be read from the code."""

import ast

import torch
from module_imports import MODULES

from kd3d.on_device import on_device

# What runs in a step. Beside it stand the calls that wait on purpose.
STEPS = ("losses", "connectors", "heads", "bev_boxes", "bev_grid", "bev_sampling")
OF_DISTILL = ("distiller", "known_frames", "labelled_frames", "normalization", "pair", "truth")
WAITING = {"cpu", "item", "new_tensor", "nonzero", "numpy", "tolist"}
ALLOWED = {
    # of a config's numbers, once; and boxes chosen one after another on the host
    "kd3d.distill.normalization": {"tolist"},
    "kd3d.heads.anchor3d": {"tolist"},
    "kd3d.heads.teacher_boxes": {"cpu", "new_tensor", "tensor(device=)"},
}


def waits(tree):
    """Names of calls that wait for a GPU, where what they read or make lies on one."""
    for node in ast.walk(tree):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
            continue
        if node.func.attr in WAITING:
            yield node.func.attr
        if node.func.attr == "tensor" and any(word.arg == "device" for word in node.keywords):
            yield "tensor(device=)"


def test_no_call_of_a_step_waits():
    names = [f"kd3d.{name}" for name in STEPS] + [f"kd3d.distill.{name}" for name in OF_DISTILL]
    found = {
        module: set(waits(ast.parse(path.read_text())))
        for module, path in MODULES.items()
        if any(module == name or module.startswith(f"{name}.") for name in names)
    }
    assert len(found) > 30
    assert {module: calls for module, calls in found.items() if calls} == ALLOWED


def test_numbers_come_as_torch_makes_them():
    made = on_device([[1, 2.5]], torch.device("cpu"))
    assert made.dtype == torch.float32
    assert made.tolist() == [[1.0, 2.5]]
    assert on_device((1, 0), torch.device("meta"), torch.float16).dtype == torch.float16


def test_a_gpu_is_sent_them_from_pinned_memory_without_waiting(monkeypatch):
    seen = []
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda self: self.clone().neg())
    monkeypatch.setattr(torch.Tensor, "to", lambda self, *a, **k: seen.append((self, a, k)) or self)
    on_device([2.0], torch.device("cuda", 1))
    ((pinned, place, how),) = seen
    assert pinned.tolist() == [-2.0]
    assert (place, how) == ((torch.device("cuda", 1),), {"non_blocking": True})
