import pytest
import toys
import toys3d
from mmengine.config import Config

import kd3d.datasets.replayed_augmentation
import kd3d.models  # noqa: F401  (both register what the configs name)
from kd3d.errors import UserError
from kd3d.profiling.costs.cached_training import CachedTraining, measure_cached_training, replayed


@pytest.fixture(autouse=True)
def _unformatted_configs(monkeypatch):
    """MMEngine formats a Runner's config with yapf, which takes longer than the test."""
    monkeypatch.setattr("mmengine.config.config.FormatCode", lambda text, **options: (text, False))


def config(folder, hooks):
    made = toys3d.training(folder, toys3d.centerpoint(), hooks=hooks)
    return replayed(made)


def test_random_steps_move_into_the_replay():
    made = Config({"train_dataloader": {"dataset": {"pipeline": toys3d.pipeline()}}})
    load, annotate, last = replayed(made).train_dataloader.dataset.pipeline
    assert [load.type, annotate.type] == ["LoadPointsFromFile", "LoadAnnotations3D"]
    assert (last["type"], last["variants"]) == ("ReplayedAugmentation", 1)
    assert [step["type"] for step in last["transforms"]] == [
        "RandomFlip3D",
        "PointsRangeFilter",
        "ObjectRangeFilter",
        "Pack3DDetInputs",
    ]
    assert len(made.train_dataloader.dataset.pipeline) == 6
    again = Config({"train_dataloader": {"dataset": {"pipeline": [load, last]}}})
    assert replayed(again).train_dataloader.dataset.pipeline == [load, last]


def test_speedup_and_difference_by_hand():
    cost = CachedTraining(
        seconds={"student": [1.0, 1.0], "live": [3.0, 6.0], "cached": [1.5, 2.0]},
        cpu_seconds={"student": [1.0, 1.0], "live": [2.0, 2.0], "cached": [1.0, 1.0]},
        losses={
            "live": [{"loss": 2.0, "loss_a": 1.0}, {"loss": 4.0, "loss_a": 0.5}],
            "cached": [{"loss": 2.0, "loss_a": 1.1}, {"loss": 3.0, "loss_a": 0.5}],
        },
        entry_mb=1.0,
        batch=4,
    )
    assert cost.speedup().median == (3.0 / 1.5 + 6.0 / 2.0) / 2
    assert cost.speedup(cpu=True).median == 2.0
    assert cost.throughput("live") == 4 / 4.5
    assert cost.largest_difference == 0.25


def test_arms_see_the_same_batches_and_cached_frames_are_read(tmp_path):
    teacher = toys3d.teacher_config(tmp_path / "teacher.py", toys3d.centerpoint(8))
    pair = toys.neck_pair(student="pts_neck[0]", teacher="pts_neck[0]")
    hooks = [{"type": "InitSeparateHeads"}, toys.distill_hook(teacher, [pair])]
    rounds = []
    cost = measure_cached_training(
        config(tmp_path, hooks),
        rounds=3,
        batches=2,
        warmup=1,
        progress=lambda done, total: rounds.append((done, total)),
    )
    assert rounds[-1] == (4, 4)
    assert all(len(times) == 3 for times in cost.seconds.values())
    assert cost.batch == 2
    assert cost.largest_difference < 2e-3
    assert "loss_neck" in cost.losses["cached"][0]
    assert cost.entry_mb == pytest.approx(16 * 16 * 16 * 2 / 1e6)  # 16 channels, 16 x 16, halves


def test_several_teachers_are_refused(tmp_path):
    hooks = [toys.distill_hook("t.py", [toys.neck_pair()], name=name) for name in "ab"]
    with pytest.raises(UserError, match="has 2 DistillHooks, expected one"):
        measure_cached_training(config(tmp_path, hooks), rounds=2)
