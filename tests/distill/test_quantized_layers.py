import copy
import gc
import weakref

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from kd3d.distill.fake_quantization import fake_quantized_activation, fake_quantized_weight
from kd3d.distill.quantized_layers import QuantizedLayers
from kd3d.errors import UserError


class Student(nn.Module):
    """A convolution with batch norm, a transposed one, and a head that runs over two levels."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(4)
        self.up = nn.ConvTranspose2d(4, 5, 2, stride=2)
        self.head = nn.Conv2d(5, 2, 1)

    def forward(self, images):
        features = self.up(self.norm(self.conv(images)).relu())
        return self.head(features), self.head(10 * features[..., ::2, ::2])


@pytest.fixture
def student():
    torch.manual_seed(0)
    return Student()


@pytest.fixture
def images():
    return torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(1))


def by_hand(student, images, limits):
    """The forward with quantised numbers written out."""

    def quantised(value, name, call=0):
        return fake_quantized_activation(value, limits[name][call])

    functional = nn.functional
    weight = fake_quantized_weight(student.conv.weight, 0)
    x = functional.conv2d(quantised(images, "conv"), weight, padding=1)
    x = student.norm(x).relu()
    weight = fake_quantized_weight(student.up.weight, 1)
    x = functional.conv_transpose2d(quantised(x, "up"), weight, student.up.bias, stride=2)
    weight = fake_quantized_weight(student.head.weight, 0)
    return tuple(
        functional.conv2d(quantised(level, "head", call), weight, student.head.bias)
        for call, level in enumerate([x, 10 * x[..., ::2, ::2]])
    )


def test_forward_and_gradient_are_those_written_out(student, images):
    twin = copy.deepcopy(student)
    layers = QuantizedLayers(student, percentile=99)
    layers.attach()
    outputs = student(images)
    sum(output.square().sum() for output in outputs).backward()
    expected = by_hand(twin, images, layers.limits)
    sum(output.square().sum() for output in expected).backward()
    for one, other in zip(outputs, expected, strict=True):
        torch.testing.assert_close(one, other)
    for (name, one), (_, other) in zip(
        student.named_parameters(), twin.named_parameters(), strict=True
    ):
        torch.testing.assert_close(one.grad, other.grad, msg=name)
    plain = twin(images)
    assert not torch.equal(plain[0], outputs[0])


def test_nothing_stays_on_the_student(student, images):
    keys, modules = list(student.state_dict()), [str(m) for m in student.modules()]
    before = student.eval()(images)
    layers = QuantizedLayers(student)
    layers.attach()
    student.train()(images)
    assert list(student.state_dict()) == keys
    assert [str(m) for m in student.modules()] == modules
    assert student.conv.weight is student.conv._parameters["weight"]
    layers.detach()
    layers.detach()
    hooks = [m for m in student.modules() if m._forward_hooks or m._forward_pre_hooks]
    assert not hooks
    student.norm.reset_running_stats()
    for one, other in zip(student.eval()(images), before, strict=True):
        assert torch.equal(one, other)


def test_a_failing_layer_gives_its_weight_back(student, images):
    layers = QuantizedLayers(student)
    layers.attach()
    with pytest.raises(RuntimeError):
        student(images[:, :2])
    assert "weight" not in student.conv.__dict__
    copy.deepcopy(student)  # no tensor of a graph is left on it


def test_each_call_has_a_limit_that_follows_training_only(student, images):
    layers = QuantizedLayers(student, percentile=100, momentum=0.25)
    layers.attach()
    student(images)
    assert {name: len(limit) for name, limit in layers.limits.items()} == {
        "conv": 1,
        "up": 1,
        "head": 2,
    }
    first = images.abs().max()
    torch.testing.assert_close(layers.limits["conv"], first[None])
    student(5 * images)  # 0.75 * first + 0.25 * 5 * first
    torch.testing.assert_close(layers.limits["conv"], 2 * first[None])
    with torch.no_grad():
        student.eval()(9 * images)
    torch.testing.assert_close(layers.limits["conv"], 2 * first[None])
    assert layers.limits["head"][1] > 2 * layers.limits["head"][0]


def test_limits_go_from_one_to_another(student, images):
    layers = QuantizedLayers(student)
    layers.attach()
    student(images)
    expected = student.eval()(images)
    twin = copy.deepcopy(student)
    for other in twin.modules():  # shared functions, which do nothing for the copy
        other._forward_hooks.clear()
        other._forward_pre_hooks.clear()
    others = QuantizedLayers(twin)
    others.limits = layers.limits
    others.attach()
    for one, other in zip(twin(images), expected, strict=True):
        assert torch.equal(one, other)


def test_a_copy_is_not_quantised_and_does_not_hold_the_owner(student, images):
    layers = QuantizedLayers(student)
    layers.attach()
    twin = copy.deepcopy(student)
    plain = Student()
    plain.load_state_dict(student.state_dict())
    for one, other in zip(twin.eval()(images), plain.eval()(images), strict=True):
        assert torch.equal(one, other)
    owner = weakref.ref(layers)
    del layers
    gc.collect()
    assert owner() is None
    for one, other in zip(student.eval()(images), plain(images), strict=True):
        assert torch.equal(one, other)


def test_recomputed_activations_are_counted_once(images):
    class Recomputing(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 3, 3)

        def forward(self, images):
            return checkpoint(self.conv, images, use_reentrant=False)

    torch.manual_seed(0)
    student = Recomputing()
    layers = QuantizedLayers(student, momentum=0.5)
    layers.attach()
    student(images).sum().backward()
    student(3 * images).sum().backward()  # computed again in backward, after the forward
    assert layers.limits["conv"].shape == (1,)
    once = layers.limits["conv"].clone()
    layers.detach()
    expected = Recomputing()
    expected.load_state_dict(student.state_dict())
    layers = QuantizedLayers(expected, momentum=0.5)
    layers.attach()
    with torch.no_grad():
        expected(images)
        expected(3 * images)
    torch.testing.assert_close(once, layers.limits["conv"])


def test_training_with_it_beats_quantising_afterwards(monkeypatch):
    """Three bits, so that it hurts; the twin is trained as long without it, then quantised."""
    monkeypatch.setattr("kd3d.distill.fake_quantization.LOWEST", -4)
    monkeypatch.setattr("kd3d.distill.fake_quantization.HIGHEST", 3)
    torch.manual_seed(0)
    teacher = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 16), nn.ReLU())
    teacher.append(nn.Linear(16, 4))
    values = torch.randn(256, 4)
    target = teacher(values).detach()

    def error_as_quantised(student, *, aware):
        layers = QuantizedLayers(student, percentile=100)
        if aware:
            layers.attach()
        optimizer = torch.optim.Adam(student.parameters(), lr=0.003)
        for _ in range(150):
            optimizer.zero_grad()
            (student(values) - target).square().mean().backward()
            optimizer.step()
        if not aware:
            layers.attach()
        with torch.no_grad():
            student(values)
            error = (student.eval()(values) - target).square().mean().item()
        layers.detach()
        return error

    afterwards = error_as_quantised(copy.deepcopy(teacher), aware=False)
    assert error_as_quantised(copy.deepcopy(teacher), aware=True) < 0.5 * afterwards


def test_keep_float_takes_all_below_a_name(student):
    assert QuantizedLayers(student, ["up"]).names == ["conv", "head"]
    pair = nn.ModuleDict({"left": student, "lefter": Student()})
    assert QuantizedLayers(pair, ["left"]).names == ["lefter.conv", "lefter.up", "lefter.head"]


def test_wrong_names_are_refused(student):
    with pytest.raises(UserError, match="'hed', which is no module"):
        QuantizedLayers(student, ["hed"])
    with pytest.raises(UserError, match="no convolution or linear layer is left"):
        QuantizedLayers(student, ["conv", "up", "head"])
