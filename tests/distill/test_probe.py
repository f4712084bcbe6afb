"""The batch that is looked at before training, and how large a loader's batches are."""

import pytest
import toys
from mmengine.runner import Runner
from torch.utils.data import BatchSampler, DataLoader, SequentialSampler

import kd3d.datasets.replayed_augmentation
import kd3d.distill  # noqa: F401  (both register what the configs name)
from kd3d.distill import hook
from kd3d.distill.probe import frames_at_once, training_batch

FRAMES = list(range(8))


class OneSizeAPart(BatchSampler):
    """As mmdet's MultiDataAspectRatioBatchSampler keeps them."""

    def __init__(self):
        self.batch_size = [2, 3]


@pytest.mark.parametrize(
    ("settings", "frames"),
    [
        ({"batch_size": 4}, 4),
        ({"batch_sampler": BatchSampler(SequentialSampler(FRAMES), 3, drop_last=False)}, 3),
        ({"batch_sampler": OneSizeAPart()}, 3),
        ({"batch_size": None}, 1),
    ],
)
def test_how_many_frames_a_loader_draws_at_once(settings, frames):
    assert frames_at_once(DataLoader(FRAMES, **settings)) == frames


def by_shape(folder, *, batch, hooks=()):
    config = toys.training(folder, toys.retinanet(), hooks=list(hooks), batch=batch)
    config.train_dataloader.batch_sampler = {"type": "AspectRatioBatchSampler"}
    return config


@pytest.mark.parametrize("batch", [1, 4])
def test_no_more_frames_are_looked_at_than_a_step_has(tmp_path, batch):
    runner = Runner.from_cfg(by_shape(tmp_path, batch=batch))
    runner._train_loop = runner.build_train_loop(runner._train_loop)
    assert len(training_batch(runner, runner.model)["data_samples"]) == min(batch, 2)


def test_a_batch_is_looked_at_as_training_will_see_it(tmp_path):
    padding = [{"type": "BatchFixedSizePad", "size": (96, 128), "pad_mask": False}]
    resizing = [{"type": "BatchSyncRandomResize", "random_size_range": (64, 64), "interval": 1}]
    student = toys.retinanet()  # the second reads from MMEngine how many iterations are done
    student["data_preprocessor"] = toys.preprocessor(batch_augments=padding + resizing)
    teacher = toys.teacher_config(tmp_path / "teacher.py", toys.retinanet())
    hooks = [toys.distill_hook(teacher, [toys.neck_pair()])]
    runner = Runner.from_cfg(toys.training(tmp_path, student, hooks=hooks, iterations=1))
    runner.train()
    (report,) = toys.distilling(runner).reports
    assert report.student == "neck [tensor (2, 8, 12, 16), tensor (2, 8, 6, 8)]"  # strides 8 and 16


def test_a_cache_counts_every_frame_of_a_step(tmp_path, monkeypatch):
    drawn = []
    open_cache = hook.cached_teacher

    def noted(*args, **named):
        drawn.append(named["draws"])
        return open_cache(*args, **named)

    monkeypatch.setattr(hook, "cached_teacher", noted)
    teacher = toys.teacher_config(tmp_path / "teacher.py", toys.retinanet())
    cache = {"cache": {"dir": str(tmp_path / "cache")}}
    distilled = toys.distill_hook(teacher, [toys.neck_pair()], teacher=cache)
    config = by_shape(tmp_path, batch=3, hooks=[distilled])
    *before, flip, pack = config.train_dataloader.dataset.pipeline
    replayed = {"type": "ReplayedAugmentation", "variants": 1, "transforms": [flip, pack]}
    config.train_dataloader.dataset.pipeline = [*before, replayed]
    Runner.from_cfg(config).train()
    assert drawn == [4 * 3]  # iterations of a batch each
