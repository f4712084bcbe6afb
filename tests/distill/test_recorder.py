import contextlib
import copy

import pytest
import torch
from torch import nn

from kd3d.distill.recorder import FeatureRecorder, LastTapReached, Tap, describe, tensors_in
from kd3d.errors import UserError


class Nested(nn.Module):
    """Two levels, a shared head, a dict, and a module that never runs."""

    def __init__(self):
        super().__init__()
        self.neck = nn.Conv2d(1, 2, 1)
        self.head = nn.Module()
        self.head.cls = nn.Conv2d(2, 3, 1)
        self.tasks = _Tasks()
        self.unused = nn.Linear(1, 1)
        self.relu = nn.ReLU(inplace=True)
        self.ran = []

    def forward(self, x):
        feature = self.neck(x)
        levels = [self.head.cls(feature), self.head.cls(feature * 2)]
        self.ran.append("past the head")
        return self.tasks(levels)


class _Tasks(nn.Module):
    def forward(self, levels):
        return [{"heatmap": levels[0], "sizes": (levels[1], levels[0])}]


def record(model, *texts, image=None):
    recorder = FeatureRecorder(model, [Tap.parse(text) for text in texts], owner="student")
    recorder.start()
    model(torch.ones(1, 1, 4, 4) if image is None else image)
    return recorder.finish()


@pytest.mark.parametrize(
    ("text", "module", "selectors"),
    [
        ("neck", "neck", ()),
        ("neck[0]", "neck", (0,)),
        ("bbox_head[0][1]", "bbox_head", (0, 1)),
        ("a.b[0][key]", "a.b", (0, "key")),
        ("backbone.layers.2[-1]", "backbone.layers.2", (-1,)),
    ],
)
def test_the_grammar(text, module, selectors):
    tap = Tap.parse(text)
    assert (tap.module, tap.selectors) == (module, selectors)


@pytest.mark.parametrize("text", ["", "neck[", "neck[]", "neck]0[", "a..b", "neck [0]", 3])
def test_what_is_no_tap_is_refused_with_examples(text):
    with pytest.raises(UserError, match=r"neck\[0\]"):
        Tap.parse(text)


def test_selectors_reach_into_lists_tuples_and_dicts():
    model = Nested()
    values = record(model, "tasks[0][heatmap]", "tasks[0][sizes][1]", "neck")
    heatmap, second, neck = values.values()
    assert torch.equal(heatmap, second)
    assert neck.shape == (1, 2, 4, 4)


def test_a_module_that_runs_twice_gives_both_outputs_in_order():
    model = Nested()
    values = record(model, "head.cls", "head.cls[1]")
    both, second = values.values()
    assert len(both) == 2
    assert torch.equal(both[1], second)


def test_a_selector_that_does_not_fit_shows_what_there_is():
    with pytest.raises(UserError, match=r"\[size\] does not fit.*heatmap: tensor \(1, 3, 4, 4\)"):
        record(Nested(), "tasks[0][size]")


def test_an_unknown_module_gets_the_nearest_names():
    with pytest.raises(UserError, match="did you mean 'neck'"):
        FeatureRecorder(Nested(), [Tap.parse("nek")], owner="student")


def test_a_module_that_never_runs_is_named():
    with pytest.raises(UserError, match="'unused' was never reached"):
        record(Nested(), "neck", "unused")


def test_an_output_changed_in_place_is_refused():
    class InPlace(Nested):
        def forward(self, x):
            return self.relu(self.neck(x))

    with pytest.raises(UserError, match="changed in place"):
        record(InPlace(), "neck")


def test_the_forward_ends_at_the_last_tap_once_the_calls_are_known():
    model = Nested()
    recorder = FeatureRecorder(model, [Tap.parse("neck"), Tap.parse("head.cls")], owner="teacher")
    for expected in (1, 1, 1):
        recorder.start(stop_after_last=True)
        with contextlib.suppress(LastTapReached):
            model(torch.ones(1, 1, 4, 4))
        assert len(recorder.finish()) == 2
        assert len(model.ran) == expected


def test_nothing_is_left_on_the_model_afterwards():
    model = Nested()
    recorder = FeatureRecorder(model, [Tap.parse("neck")], owner="student")
    recorder.start()
    model(torch.ones(1, 1, 4, 4))
    recorder.finish()
    assert not any(module._forward_hooks for module in model.modules())
    assert recorder._outputs == {}
    copy.deepcopy(model)


def test_describe_and_tensors_in_walk_any_nesting():
    value = {"a": [torch.ones(2), (torch.ones(3, 1),)], "b": None}
    assert describe(value) == "{a: [tensor (2,), [tensor (3, 1)]], b: NoneType}"
    assert [tuple(t.shape) for t in tensors_in(value)] == [(2,), (3, 1)]
