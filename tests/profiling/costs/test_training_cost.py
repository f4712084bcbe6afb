"""The three kinds of step on a toy RetinaNet: what they run, never how long it takes."""

import pytest
import torch
import toys
from mmdet.models import FPN, RetinaHead
from mmengine.registry import MODELS, DefaultScope

import kd3d.distill  # noqa: F401  (registers the hook)
from kd3d.errors import UserError
from kd3d.profiling.costs import training_cost
from kd3d.profiling.costs.training_arms import with_comparison
from kd3d.profiling.costs.training_cost import COMPARED, Spread, TrainingCost, measure_training_cost
from kd3d.profiling.costs.training_floor import forward_to, last_stage

TASK = {"loss", "loss_cls", "loss_bbox"}


@pytest.fixture
def config(tmp_path):
    """The teacher is wider, so that the neck's pair has connectors."""
    teacher = toys.teacher_config(tmp_path / "teacher.py", toys.retinanet(8, 16))
    student = toys.retinanet()
    student["backbone"]["init_cfg"] = {"type": "Pretrained", "checkpoint": "no/such/file.pth"}
    hook = toys.distill_hook(teacher, [toys.neck_pair(weight=2.0)])
    hook["teacher"]["checkpoint"] = "no/such/teacher.pth"
    return toys.training(tmp_path, student, hooks=[hook])


def compare(config, use):
    return with_comparison(config, use, size_px=64)


def widths_run(monkeypatch, step):
    """Channels that each FPN and RetinaHead gives or takes while the step runs."""
    seen = {"neck": [], "head": []}
    with monkeypatch.context() as patch:
        neck, head = FPN.forward, RetinaHead.forward

        def run_neck(self, *args):
            seen["neck"].append(self.out_channels)
            return neck(self, *args)

        def run_head(self, *args):
            seen["head"].append(self.in_channels)
            return head(self, *args)

        patch.setattr(FPN, "forward", run_neck)
        patch.setattr(RetinaHead, "forward", run_head)
        step()
    return seen


def test_each_arm_runs_what_it_should(config, monkeypatch):
    """Student: 8 channels, teacher: 16; the teacher's forward ends at its neck."""

    def use(comparison):
        warm = {name: set(arm.step()) for name, arm in comparison.arms.items()}
        seen = {n: widths_run(monkeypatch, arm.step) for n, arm in comparison.arms.items()}
        return warm, seen

    losses, seen = compare(config, use)
    assert losses == {"student": TASK, "floor": TASK, "kd3d": TASK | {"loss_neck"}}
    assert seen == {
        "student": {"neck": [8], "head": [8]},
        "floor": {"neck": [16, 8], "head": [8]},
        "kd3d": {"neck": [16, 8], "head": [8]},
    }


def test_the_floor_follows_a_tap_into_the_head(config, monkeypatch):
    config.custom_hooks[0].pairs.append(toys.response_pair())
    seen = compare(config, lambda c: widths_run(monkeypatch, c.arms["floor"].step))
    assert seen == {"neck": [16, 8], "head": [16, 8]}


def test_every_arm_trains(config):
    def use(comparison):
        losses = {}
        for name, arm in comparison.arms.items():
            losses[name] = [float(arm.step()["loss"]) for _ in range(2)]
        return losses

    losses = compare(config, use)
    assert sorted(losses) == ["floor", "kd3d", "student"]
    assert all(first != second for first, second in losses.values())


def test_arms_and_parts_are_measured_in_every_round(config, monkeypatch):
    """A step's own peak is measured in test_step_memory.py; here it is 1 MiB."""
    monkeypatch.setattr(training_cost, "peak_step_bytes", lambda step, device: 2**20)
    calls = []
    cost = compare(
        config,
        lambda comparison: measure_training_cost(
            comparison, rounds=2, warmup=1, progress=lambda *call: calls.append(call)
        ),
    )
    expected = {"student", "floor", "kd3d", "teacher forward", "pair neck", "connectors of neck"}
    assert set(cost.seconds) == set(cost.cpu_seconds) == expected
    assert {len(values) for values in cost.seconds.values()} == {2}
    assert calls == [(1, 3), (2, 3), (3, 3)]
    assert list(cost.peak_mb) == ["student", "floor", "kd3d"]
    assert 1.0 < cost.peak_mb["student"] < cost.peak_mb["floor"] < cost.peak_mb["kd3d"]


def test_memory_counts_teacher_and_connectors(config):
    """Per parameter: the student 4 bytes and 4 of momentum, the teacher 4, a connector 8."""

    def use(comparison):
        for arm in comparison.arms.values():
            arm.step()
        return {name: arm.resident_bytes() for name, arm in comparison.arms.items()}

    resident = compare(config, use)
    with DefaultScope.overwrite_default_scope("mmdet"):
        teacher = MODELS.build(toys.retinanet(8, 16))
    tensors = [*teacher.parameters(), *teacher.buffers()]
    assert resident["floor"] - resident["student"] == sum(t.nbytes for t in tensors)
    levels, connector = 2, 8 * 16 + 16
    assert resident["kd3d"] - resident["floor"] == levels * connector * 8


def test_a_config_without_distillation_is_refused(config):
    config.custom_hooks = []
    with pytest.raises(UserError, match="no DistillHook"):
        compare(config, lambda comparison: None)


@pytest.mark.parametrize(
    ("taps", "stage"),
    [
        (["neck"], "neck"),
        (["neck[0]", "backbone.layer3"], "neck"),
        (["bbox_head[0][1]", "neck"], "bbox_head"),
    ],
)
def test_last_stage(taps, stage):
    assert last_stage(taps) == stage


def test_a_tap_in_another_part_is_refused():
    with pytest.raises(UserError, match=r"'roi_head.bbox_head'.*backbone, neck, bbox_head"):
        last_stage(["neck", "roi_head.bbox_head"])


def test_forward_to_the_neck_gives_what_the_detector_extracts():
    with DefaultScope.overwrite_default_scope("mmdet"):
        teacher = MODELS.build(toys.retinanet()).eval()
    images = torch.rand(1, 3, 64, 64)
    levels, expected = forward_to(teacher, images, "neck"), teacher.extract_feat(images)
    assert len(levels) == len(expected) == 2
    assert all(torch.equal(one, other) for one, other in zip(levels, expected, strict=True))
    assert not levels[0].requires_grad


def test_ratios_are_taken_round_by_round():
    """The second round was three times slower in all arms: the ratio does not see it."""
    seconds = {"student": [1.0, 3.0, 1.0], "floor": [2.0, 6.0, 2.0], "kd3d": [3.0, 9.0, 4.0]}
    cost = TrainingCost(seconds, seconds, {"student": 1.0, "floor": 2.0, "kd3d": 3.0})
    assert cost.time_ratio("floor", "student") == Spread(2.0, 2.0, 2.0)
    # 1.5, 1.5, 2.0: inclusive quartiles of three values lie halfway between neighbours
    assert cost.time_ratio("kd3d", "floor") == Spread(1.5, 1.5, 1.75)
    assert cost.peak_ratio("kd3d", "floor") == 1.5
    metrics = cost.metrics()
    assert metrics["seconds_per_iter"] == 3.0 + 1.0  # the median of 3, 9, 4
    assert metrics["time_ratio/kd3d/floor/p75"] == 1.75
    assert {f"memory_ratio/{one}/{other}" for one, other in COMPARED} <= metrics.keys()
