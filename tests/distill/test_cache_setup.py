"""What has to come again is checked before a teacher is cached, and the size of its cache told."""

import pytest
import toys3d
from mmengine.config import Config
from toys_cache import TAP, Detector, images, sample

from kd3d.distill.cache import CacheSettings
from kd3d.distill.cache_setup import cached_teacher, entry_bytes, replay_of
from kd3d.distill.flips import Flip
from kd3d.distill.teacher import Teacher
from kd3d.errors import UserError


def pipeline(*inside, before=(), **changes):
    replayed = {"type": "ReplayedAugmentation", "variants": 2, "transforms": list(inside)}
    steps = [{"type": "LoadPointsFromFile"}, *before, {**replayed, **changes}]
    dataset = {"type": "NuScenesDataset", "pipeline": steps}
    return Config({"model": {}, "train_dataloader": {"dataset": {"dataset": dataset}}})


FLIP = {"type": "RandomFlip3D", "flip_ratio_bev_horizontal": 0.5, "flip_ratio_bev_vertical": 0.5}
PACK = {"type": "Pack3DDetInputs"}


def test_the_replay_of_a_pipeline():
    replay = replay_of(pipeline(FLIP, PACK, before=[{"type": "LoadAnnotations3D"}]))
    assert (replay.variants, replay.flips) == (2, ())
    assert replay.before == [{"type": "LoadPointsFromFile"}]
    free = replay_of(pipeline(FLIP, PACK, free_flips=True))
    assert free.flips == (Flip(True, False), Flip(False, True), Flip(True, True))


@pytest.mark.parametrize(
    ("config", "says"),
    [
        (pipeline(PACK, before=[FLIP]), "RandomFlip3D outside of ReplayedAugmentation"),
        (
            pipeline(PACK, before=[{"type": "LoadPointsFromMultiSweeps"}]),
            "LoadPointsFromMultiSweeps outside of",
        ),
        (
            pipeline(FLIP, {"type": "GlobalRotScaleTrans"}, PACK, free_flips=True),
            "GlobalRotScaleTrans after RandomFlip3D",
        ),
        (Config({"model": {}, "train_dataloader": {"dataset": {}}}), "has no pipeline"),
        (
            Config(
                {
                    "model": {"data_preprocessor": {"batch_augments": [{}]}},
                    "train_dataloader": {"dataset": {}},
                }
            ),
            "batch_augments",
        ),
    ],
)
def test_what_would_not_come_again_is_refused(config, says):
    with pytest.raises(UserError, match=says):
        replay_of(config)


def switching(*steps):
    """The pipeline of two variants, and a hook that puts another in its place."""
    config = pipeline(FLIP, PACK)
    hook = {"type": "PipelineSwitchHook", "switch_epoch": 1, "switch_pipeline": list(steps)}
    config.custom_hooks = [{"type": "EMAHook"}, hook]
    return config


LOAD = {"type": "LoadPointsFromFile"}


def test_a_pipeline_that_a_hook_switches_to_has_forms_of_its_own():
    step = {"type": "ReplayedAugmentation", "variants": 3, "transforms": [FLIP, PACK]}
    replay = replay_of(switching(LOAD, {"type": "LoadAnnotations3D"}, step))
    assert (replay.variants, replay.flips) == (2 + 3, ())
    assert len(replay_of(switching(LOAD, {**step, "free_flips": True})).flips) == 3


@pytest.mark.parametrize(
    ("steps", "says"),
    [
        ([LOAD, PACK], "switch_pipeline of a hook has Pack3DDetInputs outside of"),
        (
            [
                {**LOAD, "use_dim": 4},
                {"type": "ReplayedAugmentation", "variants": 2, "transforms": [FLIP, PACK]},
            ],
            "or the switch_pipeline of a hook, prepare frames differently before",
        ),
    ],
)
def test_what_a_hook_switches_to_has_to_come_again_too(steps, says):
    with pytest.raises(UserError, match=says):
        replay_of(switching(*steps))


def test_latest_sweeps_are_not_random():
    sweeps = {"type": "LoadPointsFromMultiSweeps", "test_mode": True}
    replay = replay_of(pipeline(PACK, before=[sweeps]))
    assert (replay.variants, replay.sweeps) == (2, True)
    assert replay_of(pipeline({"type": "mmdet3d.LoadPointsFromMultiSweeps"}, PACK)).sweeps
    assert not replay_of(pipeline(PACK)).sweeps


def test_the_size_of_an_entry():
    batch = {"inputs": images(1, 2), "data_samples": [sample("a"), sample("b")]}
    teacher = Teacher(Detector(), [TAP])
    assert entry_bytes(teacher, [TAP, TAP], CacheSettings("x"), batch) == 2 * 4 * 2


@pytest.mark.parametrize(
    ("inputs", "says"),
    [
        (
            images(1, 2),
            "6 entries (3 frames, 2 forms each, 9 drawn) of 0.00 MB, 0.00 GB if every image fills "
            "2 x 4, as the first batch's; other padding adds to it; 0 are there, and max_gb=10 ",
        ),
        ({"points": toys3d.points(2)}, "0.00 GB at most; 0 are there"),
    ],
)
def test_the_size_of_a_cache_is_a_bound_for_points_alone(tmp_path, inputs, says):
    """An image has one more entry for each size that a batch is padded to, however many."""
    detector = Detector()
    detector.forward = lambda inputs, samples, mode: detector.net(images(1, 2))
    student = pipeline(PACK)
    student.model.data_preprocessor = {}
    _, text = cached_teacher(
        Teacher(detector, [TAP]),
        [TAP],
        CacheSettings(str(tmp_path)),
        student=student,
        model={},
        batch={"inputs": inputs, "data_samples": [sample("a"), sample("b")]},
        frames=3,
        draws=9,
    )
    assert says in text
