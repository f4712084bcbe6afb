"""What every loss promises, checked on all of LOSSES."""

import functools
import re
from collections.abc import Callable
from dataclasses import dataclass, field, fields, is_dataclass, replace

import numpy as np
import pytest
import torch
from bev_losses import (
    GRID,
    anchor_predictions,
    bev_mask,
    center_predictions,
    frame_boxes,
    np_affinity,
    np_anchor_response,
    np_bev_feature,
    np_box_points,
    np_heatmap_response,
    sigmoid,
    yes_no_kl,
)

import kd3d.losses  # noqa: F401  (registers them)
from kd3d.heads import DensePrediction
from kd3d.registry import LOSSES

MAP = (3, 4, 5, 6)  # B, C, H, W


def softmax(x, axis):
    e = np.exp(x)
    return e / e.sum(axis, keepdims=True)


def np_l2(s, t):
    return ((s - t) ** 2).mean()


def np_feature_attention(s, t):
    return 0.9 * np_l2(s, t) + 0.1 * np_l2(sigmoid(s.mean(1)), sigmoid(t.mean(1)))


def np_attention(s, t):
    total = 0.0
    for a, b in zip(s, t, strict=True):
        a, b = (a**2).sum(0).ravel(), (b**2).sum(0).ravel()
        total += 2 - 2 * (a @ b) / np.sqrt((a @ a) * (b @ b))
    return total / len(s)


def np_channel_wise(s, t):
    values = []
    for a, b in zip(s.reshape(-1, 30), t.reshape(-1, 30), strict=True):
        p, q = softmax(a / 2, 0), softmax(b / 2, 0)
        values.append((q * np.log(q / p)).sum() * 4)
    return np.mean(values)


def np_pearson(s, t):
    rows = zip(s.reshape(-1, 30), t.reshape(-1, 30), strict=True)
    return np.mean([1 - np.corrcoef(a, b)[0, 1] for a, b in rows])


def np_softmax(s, t):
    p, q = softmax(s / 3, 1), softmax(t / 3, 1)
    return (q * np.log(q / p)).sum(1).mean() * 9


def np_sigmoid(s, t):
    return yes_no_kl(sigmoid(s / 3), sigmoid(t / 3)).mean() * 9


def np_giou(a, b):
    def area(box):
        return max(box[2] - box[0], 0) * max(box[3] - box[1], 0)

    common = area([*np.maximum(a[:2], b[:2]), *np.minimum(a[2:], b[2:])])
    hull = area([*np.minimum(a[:2], b[:2]), *np.maximum(a[2:], b[2:])])
    union = area(a) + area(b) - common
    return common / union - (hull - union) / hull


def np_response(s, t):
    """One image, position and class at a time, in probabilities instead of logits."""
    images = []
    for image in range(len(t.logits)):
        total, mass = 0.0, 0.0
        for n in range(t.logits.shape[1]):
            obj_s, obj_t = sigmoid(s.objectness[image, n]), sigmoid(t.objectness[image, n])
            p, q = sigmoid(s.logits[image, n]) * obj_s, sigmoid(t.logits[image, n]) * obj_t
            total += (yes_no_kl(p, q) * np.abs(p - q) ** 2).sum()
            best = q.max()
            if best > 0.05:
                mass += best
                total += best * yes_no_kl(obj_s, obj_t)
                total += 0.5 * best * (1 - np_giou(s.boxes[image, n], t.boxes[image, n]))
        images.append(total / max(mass, 1))
    return np.mean(images)


def maps(seed):
    return torch.randn(*MAP, generator=torch.Generator().manual_seed(seed))


def predictions(seed):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(3, 7, 4, generator=generator) * 2 - 1
    corner = torch.rand(3, 7, 2, generator=generator) * 20
    extent = torch.rand(3, 7, 2, generator=generator) * 20 + 1
    objectness = torch.randn(3, 7, generator=generator) * 2
    return DensePrediction(logits, torch.cat([corner, corner + extent], -1), objectness)


@dataclass
class Case:
    formula: Callable
    settings: dict = field(default_factory=dict)
    make: Callable = maps
    context: dict = field(default_factory=dict)  # what forward takes besides, of three frames
    axis: int | None = 2  # of positions, along which to repeat them; None where a grid is fixed


CASES = {
    "Affinity": Case(np_affinity, {"positions": 10}, context={"mask": bev_mask()}, axis=None),
    "AnchorResponse": Case(
        np_anchor_response,
        {"gamma": 2.0, "box_weight": 0.5, "direction_weight": 0.3, "boxes": 5},
        anchor_predictions,
        axis=None,
    ),
    "AttentionTransfer": Case(np_attention),
    "BevFeature": Case(np_bev_feature, context={"mask": bev_mask()}, axis=None),
    "BoxPoints": Case(
        np_box_points,
        {"relation_weight": 0.5},
        context={"boxes": frame_boxes(), "student_grid": GRID, "teacher_grid": GRID},
        axis=None,
    ),
    "ChannelWiseDivergence": Case(np_channel_wise, {"temperature": 2.0}),
    "DenseResponse": Case(np_response, {"gamma": 2.0, "box_weight": 0.5}, predictions, axis=1),
    "FeatureAttention": Case(np_feature_attention, {"alpha": 0.9}),
    "FeatureL2": Case(np_l2),
    "HeatmapResponse": Case(
        np_heatmap_response, {"gamma": 2.0, "box_weight": 0.5}, center_predictions, axis=None
    ),
    "PearsonDistance": Case(np_pearson),
    "SigmoidDivergence": Case(np_sigmoid, {"temperature": 3.0}),
    "SoftmaxDivergence": Case(np_softmax, {"temperature": 3.0}),
}
every_loss = pytest.mark.parametrize("name", CASES)


def build(name, context=None):
    """The loss with what it takes besides student and teacher."""
    loss = LOSSES.build(dict(CASES[name].settings, type=name))
    return functools.partial(loss, **(CASES[name].context if context is None else context))


def parts_of(value):
    """The tensors of a prediction by name, but for its anchors, which are constants."""
    parts = {part.name: getattr(value, part.name) for part in fields(value)}
    parts.pop("anchors", None)
    return {name: part for name, part in parts.items() if isinstance(part, torch.Tensor)}


def mapped(value, function):
    """``function`` on the tensor, on each of a list, or on each of the prediction."""
    if isinstance(value, list):
        return [mapped(item, function) for item in value]
    if is_dataclass(value):
        parts = {name: function(part) for name, part in parts_of(value).items()}
        return replace(value, **parts) if parts else value
    return function(value)


def tensors_of(value):
    return list(parts_of(value).values()) if is_dataclass(value) else [value]


def frame_of(context, i):
    """What forward takes besides, of one frame."""
    return {
        name: value if is_dataclass(value) else value[i : i + 1] for name, value in context.items()
    }


def test_every_registered_loss_is_seen():
    ours = {
        name for name, kind in LOSSES.module_dict.items() if kind.__module__.startswith("kd3d.")
    }  # other test files register losses of their own
    assert len(CASES) == 13
    assert set(CASES) == ours


@every_loss
def test_zero_on_identical_inputs(name):
    value = CASES[name].make(0)
    assert build(name)(value, mapped(value, torch.clone)).item() == pytest.approx(0, abs=1e-7)


@every_loss
def test_equals_the_numpy_formula(name):
    student, teacher = CASES[name].make(0), CASES[name].make(1)
    as_numpy = [mapped(value, lambda x: x.double().numpy()) for value in (student, teacher)]
    context = {k: mapped(v, lambda x: x.numpy()) for k, v in CASES[name].context.items()}
    expected = CASES[name].formula(*as_numpy, **context)
    assert expected > 0.01
    assert build(name)(student, teacher).item() == pytest.approx(expected, rel=1e-4)


@every_loss
def test_gradient_reaches_student_and_not_teacher(name):
    student, teacher = (mapped(CASES[name].make(s), torch.Tensor.requires_grad_) for s in (0, 1))
    build(name)(student, teacher).backward()
    for tensor in tensors_of(student):
        assert torch.isfinite(tensor.grad).all()
        assert tensor.grad.abs().sum() > 0
    assert all(tensor.grad is None for tensor in tensors_of(teacher))


@every_loss
def test_gradient_is_finite_where_both_agree(name):
    student = mapped(CASES[name].make(0), torch.Tensor.requires_grad_)
    build(name)(student, CASES[name].make(0)).backward()
    assert all(torch.isfinite(tensor.grad).all() for tensor in tensors_of(student))


@every_loss
def test_batch_is_the_mean_of_singles(name):
    student, teacher = CASES[name].make(0), CASES[name].make(1)
    singles = []
    for i in range(3):
        one = [mapped(value, lambda x, i=i: x[i : i + 1]) for value in (student, teacher)]
        singles.append(build(name, frame_of(CASES[name].context, i))(*one))
    assert len({round(single.item(), 6) for single in singles}) == 3
    torch.testing.assert_close(build(name)(student, teacher), torch.stack(singles).mean())


@every_loss
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_under_autocast_computes_in_float32(name, dtype):
    student, teacher = (mapped(CASES[name].make(s), lambda x: x.to(dtype)) for s in (0, 1))
    student = mapped(student, torch.Tensor.requires_grad_)
    loss = build(name)
    with torch.autocast("cpu", dtype=dtype):
        value = loss(student, teacher)
    value.backward()
    assert value.dtype == torch.float32
    exact = loss(mapped(student, torch.Tensor.float), mapped(teacher, torch.Tensor.float))
    assert value.item() == exact.item()
    assert all(torch.isfinite(tensor.grad).all() for tensor in tensors_of(student))


@every_loss
@pytest.mark.parametrize("scale", [0.0, 300.0])
def test_degenerate_inputs_stay_finite(name, scale):
    """Dead features, and logits that saturate every sigmoid in float16."""
    student, teacher = (mapped(CASES[name].make(s), lambda x: x * scale) for s in (0, 1))
    student = mapped(student, lambda x: x.detach().half().requires_grad_())
    value = build(name)(student, teacher)
    value.backward()
    assert torch.isfinite(value)
    assert all(torch.isfinite(tensor.grad).all() for tensor in tensors_of(student))


@pytest.mark.parametrize("name", [name for name in CASES if CASES[name].axis is not None])
def test_scale_does_not_depend_on_positions(name):
    """Each row of the map, or each position, twice: a mean stays what it was."""
    student, teacher = CASES[name].make(0), CASES[name].make(1)
    axis = CASES[name].axis
    loss = build(name)
    twice = loss(*(mapped(v, lambda x: x.repeat_interleave(2, axis)) for v in (student, teacher)))
    torch.testing.assert_close(twice, loss(student, teacher), rtol=1e-5, atol=1e-6)


@every_loss
def test_shapes_that_differ_are_named(name):
    student, teacher = CASES[name].make(0), CASES[name].make(1)
    student = mapped(student, lambda x: x[:2])
    shapes = [tuple(tensors_of(value)[0].shape) for value in (student, teacher)]
    expected = re.escape(f"student {shapes[0]} and teacher {shapes[1]}")
    with pytest.raises(ValueError, match=expected):
        build(name)(student, teacher)


WITH_TEMPERATURE = [
    name for name, case in CASES.items() if hasattr(build(name).func, "temperature")
]


@pytest.mark.parametrize("name", WITH_TEMPERATURE)
def test_temperature_of_the_call_overrides_the_modules(name):
    student, teacher = CASES[name].make(0), CASES[name].make(1)
    settings = dict(CASES[name].settings, type=name)
    hot, cold = (LOSSES.build(dict(settings, temperature=t)) for t in (5.0, 1.0))
    received = cold(student, teacher, temperature=5.0)
    assert received.item() == hot(student, teacher).item() != cold(student, teacher).item()
    for bad in (0.0, -1.0):
        with pytest.raises(ValueError, match="temperature above 0"):
            cold(student, teacher, temperature=bad)
        with pytest.raises(ValueError, match="temperature above 0"):
            LOSSES.build(dict(settings, temperature=bad))


def test_six_losses_have_a_temperature():
    assert len(WITH_TEMPERATURE) == 6


@pytest.mark.parametrize("name", [n for n in WITH_TEMPERATURE if CASES[n].make is maps])
def test_scaling_logits_by_the_temperature_scales_the_loss_by_its_square(name):
    student, teacher = CASES[name].make(0), CASES[name].make(1)
    loss = build(name)
    scaled = loss(4 * student, 4 * teacher, temperature=4.0)
    torch.testing.assert_close(scaled, 16 * loss(student, teacher, temperature=1.0))
