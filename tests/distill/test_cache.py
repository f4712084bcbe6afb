"""A cached teacher gives what the live one gives, but for rounding, and computes it once."""

import pytest
import torch
import toys
import toys3d
from mmengine.logging import MessageHub
from mmengine.runner import Runner
from toys_cache import RAMP, TAP, Detector, images, sample

import kd3d.datasets.replayed_augmentation
import kd3d.models  # noqa: F401  (both register what the configs name)
from kd3d.distill.cache import CachedTeacher, CacheSettings, fingerprint, frames_of
from kd3d.distill.cache_store import FeatureStore
from kd3d.distill.recorder import Tap
from kd3d.distill.teacher import Teacher
from kd3d.errors import UserError
from kd3d.evaluation.training import cache_fills


def cached(folder, detector, **settings):
    made = CacheSettings(str(folder), **settings)
    return CachedTeacher(Teacher(detector, [TAP]), FeatureStore(folder), made, [TAP])


def test_only_missing_frames_are_computed(tmp_path):
    teacher = cached(tmp_path, Detector())
    first = teacher.features(images(1, 2), [sample("a"), sample("b")])[TAP]
    assert torch.equal(first, images(2, 4))
    assert teacher.model.frames == 2
    filled_s = teacher.fill_s
    assert filled_s > 0
    second = teacher.features(images(3, 1, 2), [sample("c"), sample("a"), sample("b")])[TAP]
    assert torch.equal(second, images(6, 2, 4))
    assert teacher.model.frames == 3
    assert (teacher.hits, teacher.misses) == (2, 3)
    spent_s = teacher.fill_s
    assert spent_s > filled_s
    teacher.features(images(1), [sample("a")])
    assert teacher.fill_s == spent_s  # reading fills nothing
    again = cached(tmp_path, Detector())
    assert torch.equal(again.features(images(1), [sample("a")])[TAP], images(2))
    assert again.model.frames == 0
    assert again.summary() == "teacher cache: 1 frames read, 0 computed"


def test_computed_features_are_rounded_as_read_ones(tmp_path):
    """1.0005 has no half: a run does not depend on what the cache held before."""
    teacher = cached(tmp_path, Detector())
    values = [teacher.features(images(1.0005), [sample("a")])[TAP] for _ in range(2)]
    assert torch.equal(values[0], values[1])
    assert torch.equal(values[0], images(2 * 1.0005).half().float())


class CrowdDetector(Detector):
    """Answers otherwise where frames share a batch, as kernels round otherwise for each size."""

    def forward(self, inputs, samples, mode):
        return super().forward(inputs + (len(samples) - 1), samples, mode)


def test_an_entry_does_not_depend_on_what_else_was_missing(tmp_path):
    together = cached(tmp_path / "together", CrowdDetector())
    both = together.features(images(1, 2), [sample("a"), sample("b")])[TAP]
    alone = cached(tmp_path / "alone", CrowdDetector())
    alone.features(images(2), [sample("b")])
    assert torch.equal(both, alone.features(images(1, 2), [sample("a"), sample("b")])[TAP])


def test_what_was_filled_is_told_once(tmp_path):
    teacher = cached(tmp_path, Detector())
    teacher.features(images(1, 2), [sample("a"), sample("b")])
    assert teacher.newly_filled_s() == teacher.fill_s > 0
    teacher.features(images(1, 2), [sample("a"), sample("b")])
    assert teacher.newly_filled_s() == 0


def test_another_size_of_the_padded_batch_is_another_entry(tmp_path):
    teacher = cached(tmp_path, Detector())
    teacher.features(images(1), [sample("a")])
    wide = torch.ones(1, 1, 2, 8)
    padded = sample("a", img_shape=(2, 8))
    assert torch.equal(teacher.features(wide, [padded])[TAP], 2 * wide)


def test_images_beside_points_are_padded_to_a_size_too(tmp_path):
    detector = Detector()
    detector.forward = lambda inputs, samples, mode: detector.net(inputs["imgs"])
    teacher = cached(tmp_path, detector)
    for columns in (4, 8):
        imgs = torch.ones(1, 1, 2, columns)
        inputs = {"points": toys3d.points(1), "imgs": imgs}
        assert torch.equal(teacher.features(inputs, [sample("a")])[TAP], 2 * imgs)


@pytest.mark.parametrize("sweeps", [False, True])
def test_other_sweeps_are_another_frame_where_they_are_loaded(tmp_path, sweeps):
    teacher = cached(tmp_path, Detector())
    teacher.sweeps = sweeps
    for digest in ("1", "2", "2"):
        teacher.features(images(1), [sample("a", replay_sweeps=digest)])
    assert teacher.model.frames == (2 if sweeps else 1)


def test_what_mixed_precision_computed_is_another_entry(tmp_path):
    """1 + 2**-9 has no bfloat16, in which the convolution then runs: it becomes 1."""
    teacher = cached(tmp_path, Detector())
    image = images(1 + 2**-9)
    for _ in range(2):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert torch.equal(teacher.features(image, [sample("a")])[TAP].float(), images(2))
        assert torch.equal(teacher.features(image, [sample("a")])[TAP], 2 * image)
    assert teacher.model.frames == 2


def test_a_corrupt_entry_is_computed_again(tmp_path):
    teacher = cached(tmp_path, Detector())
    teacher.features(images(1), [sample("a")])
    (data,) = tmp_path.glob("data-*.bin")
    data.write_bytes(b"\xff" * data.stat().st_size)
    again = cached(tmp_path, Detector())
    for _ in range(2):
        assert torch.equal(again.features(images(1), [sample("a")])[TAP], images(2))
    assert again.model.frames == 1
    assert again.summary().endswith("1 of them because their entries were corrupt")


def test_two_processes_on_a_fresh_folder_read_one_another(tmp_path):
    """Both opened it while it was empty; the second finds all frames without computing any."""
    first, second = (cached(tmp_path, Detector()) for _ in range(2))
    first.features(images(1), [sample("a")])
    assert torch.equal(second.features(images(1), [sample("a")])[TAP], images(2))
    assert second.model.frames == 0


def test_entries_without_their_skeleton_are_computed_again(tmp_path):
    """Somebody deleted it, or a copy of the folder left it out: entries alone cannot be read."""
    cached(tmp_path, Detector()).features(images(1), [sample("a")])
    (tmp_path / "skeleton.json").unlink()
    again = cached(tmp_path, Detector())
    for _ in range(2):
        assert torch.equal(again.features(images(1), [sample("a")])[TAP], images(2))
    assert again.model.frames == 1


def test_what_finds_no_room_is_not_kept(tmp_path):
    teacher = cached(tmp_path, Detector(), max_gb=20e-9)  # one entry of 8 halves is 16 bytes
    for _ in range(2):
        got = teacher.features(images(1, 2), [sample("a"), sample("b")])[TAP]
        assert torch.equal(got, images(2, 4))
    assert teacher.store.size_bytes == 16
    assert teacher.summary().endswith("2 not kept for want of room (max_gb)")


def test_a_frame_without_a_key_is_refused(tmp_path):
    with pytest.raises(UserError, match="no replay_key; put the random transforms"):
        cached(tmp_path, Detector()).features(images(1), [sample(None)])


def test_an_output_that_is_not_by_frame_is_refused(tmp_path):
    detector = Detector()
    detector.net.register_forward_hook(lambda module, args, output: output.flatten())
    with pytest.raises(UserError, match=r"tensor \(8,\) for 1 frames"):
        cached(tmp_path, detector).features(images(1, 2), [sample("a"), sample("b")])


def test_points_of_some_frames_leave_voxels_out():
    points = toys3d.points(3)
    chosen = frames_of({"points": points, "voxels": {}}, [2, 0], 3)
    assert chosen.keys() == {"points"}
    assert [cloud.data_ptr() for cloud in chosen["points"]] == [
        points[place].data_ptr() for place in (2, 0)
    ]


def test_the_fingerprint_knows_weights_taps_and_preparation():
    settings = CacheSettings("x")

    def name(detector=None, config=None, taps=(TAP,), settings=settings, inputs=()):
        return fingerprint(detector or Detector(), config or {"a": 1}, taps, settings, inputs)

    assert name() == name()
    others = {
        name(Detector((0.0, 2.0, 1e-7))),
        name(config={"a": 2}),
        name(taps=[Tap.parse("net[0]")]),
        name(settings=CacheSettings("x", dtype="bfloat16")),
        name(inputs=["Resize"]),
        name(Detector().eval()),  # what heads return can depend on it
    }
    assert len(others | {name()}) == 7
    assert name(settings=CacheSettings("y", max_gb=1.0)) == name()


MIRRORED = sample("a", flip=True, flip_direction="horizontal")


def test_flipped_frames_reuse_the_entry_of_the_frame_as_it_is(tmp_path):
    teacher = cached(tmp_path, Detector((1.0, 2.0, 1.0)), reuse_flips=True)
    mirrored = teacher.features(RAMP.flip(-1), [MIRRORED])[TAP]
    straight = teacher.features(RAMP, [sample("a")])[TAP]
    assert torch.equal(mirrored, teacher.model.net(RAMP.flip(-1)))
    assert torch.equal(straight, teacher.model.net(RAMP))
    assert teacher.model.frames == 1


def test_without_reuse_a_flipped_frame_has_its_own_entry(tmp_path):
    teacher = cached(tmp_path, Detector())
    teacher.features(RAMP.flip(-1), [MIRRORED])
    teacher.features(RAMP, [sample("a")])
    assert teacher.model.frames == 2


def test_settings_are_checked():
    with pytest.raises(UserError, match="dtype is 'int8'"):
        CacheSettings.of({"dir": "x", "dtype": "int8"}, where="DistillHook")
    with pytest.raises(UserError, match="max_gb is 0"):
        CacheSettings.of({"dir": "x", "max_gb": 0}, where="DistillHook")
    with pytest.raises(UserError, match="DistillHook: teacher: expected cache=dict"):
        CacheSettings.of({"folder": "x"}, where="DistillHook")
    with pytest.raises(UserError, match=r"DistillHook: .* cache=dict\(dir=.*, got 'x'$"):
        CacheSettings.of("x", where="DistillHook")


def run(tmp_path, teacher, name, *, cache=None, pairs=None, iterations=6, times=1):
    load, annotate, *rest = toys3d.pipeline()
    config = toys3d.training(
        tmp_path / name,
        toys3d.centerpoint(),
        hooks=[
            {"type": "InitSeparateHeads"},
            toys.distill_hook(teacher, pairs or PAIRS, teacher={"cache": cache}),
        ],
        iterations=iterations,
    )
    infos = tmp_path / "data" / "infos.pkl"
    if not infos.exists():  # a frame written anew would be another one
        toys3d.lidar_frames(infos.parent, frames=3)
    config.train_dataloader.dataset.ann_file = str(infos)
    config.train_dataloader.dataset.data_prefix.pts = str(tmp_path / "data")
    replayed = {"type": "ReplayedAugmentation", "variants": 2, "transforms": rest}
    config.train_dataloader.dataset.pipeline = [load, annotate, replayed]
    if times > 1:
        repeated = {"type": "RepeatDataset", "times": times}
        config.train_dataloader.dataset = {**repeated, "dataset": config.train_dataloader.dataset}
    runner = Runner.from_cfg(config)
    losses, calls = [], []

    def look(runner, outputs):
        losses.append({key: float(value.detach()) for key, value in outputs.items()})
        model = toys.distilling(runner).distiller.teacher.model
        if not model.pts_neck._forward_pre_hooks:
            model.pts_neck.register_forward_pre_hook(lambda *_: calls.append(1))

    runner.register_hook(toys.Watch(look))
    runner.train()
    return losses, calls


# No HeatmapResponse: the heatmap of an untrained teacher is flat, and which of its cells are peaks
# is decided by less than what rounding changes.
HEATMAP = "pts_bbox_head[0][0][heatmap]"
PAIRS = [
    toys.neck_pair(student="pts_neck[0]", teacher="pts_neck[0]"),
    toys.neck_pair(name="heat", student=HEATMAP, teacher=HEATMAP),
]


@pytest.fixture
def teacher(tmp_path):
    path = tmp_path / "teacher.py"
    return toys3d.teacher_config(path, toys3d.centerpoint(8, pillar_m=0.2))


def test_training_with_a_cache_equals_a_live_teacher_but_for_rounding(tmp_path, teacher):
    cache = {"dir": str(tmp_path / "cache")}
    live, _ = run(tmp_path, teacher, "live")
    first, _ = run(tmp_path, teacher, "first", cache=cache)
    filled = cache_fills(MessageHub.get_current_instance().log_scalars)
    assert len(filled) == 6
    assert max(filled) > 0
    second, calls = run(tmp_path, teacher, "second", cache=cache)
    assert cache_fills(MessageHub.get_current_instance().log_scalars) == [0] * 6
    assert first == second
    assert calls == []  # every frame was on disk
    assert len(live) == 6
    for expected, got in zip(live, second, strict=True):
        assert got == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("times", [1, 2])
def test_a_cache_beyond_its_bound_is_refused_before_training(tmp_path, teacher, times):
    """A frame that a data set repeats is one frame."""
    cache = {"dir": str(tmp_path / "cache"), "max_gb": 1e-5}
    with pytest.raises(UserError, match=r"6 entries \(3 frames, 2 forms each, 12 drawn\) of 0"):
        run(tmp_path, teacher, "refused", cache=cache, times=times)
    assert not (tmp_path / "cache").exists()


def test_flips_of_a_teacher_that_is_not_equivariant_are_refused(tmp_path, teacher):
    cache = {"dir": str(tmp_path / "cache"), "reuse_flips": True}
    with pytest.raises(UserError, match="set free_flips=True"):
        run(tmp_path, teacher, "refused", cache=cache)
