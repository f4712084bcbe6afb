import contextlib
import copy
import os
import random

import numpy as np
import pytest
import torch
import toys3d
from mmengine.registry import DATASETS, DefaultScope

from kd3d.datasets.replayed_augmentation import ReplayedAugmentation, frame_name, seeded
from kd3d.distill.flips import flip_of, flipped
from kd3d.errors import UserError
from kd3d.registry import TRANSFORMS


@TRANSFORMS.register_module(force=True)
class DrawsFromAll:
    """Packs one number of each generator."""

    def __call__(self, results):
        drawn = [random.random(), np.random.rand(), float(torch.rand(1))]
        sample = type("Sample", (), {"set_metainfo": lambda self, info: vars(self).update(info)})()
        return {"inputs": drawn, "data_samples": sample}


@TRANSFORMS.register_module(force=True)
class RandomFlip3D:
    """Stands in for mmdet3d's; draws one number."""

    def __call__(self, results):
        return {**results, "flipped": np.random.rand()}


@pytest.fixture(autouse=True)
def stand_ins():
    """An earlier test may have left mmdet3d as the default scope, with its own RandomFlip3D."""
    with DefaultScope.overwrite_default_scope("kd3d"):
        yield


def replayed(variants, **changes):
    return ReplayedAugmentation([{"type": "DrawsFromAll"}], variants, **changes)


def test_a_variant_comes_again_bit_for_bit_and_there_are_only_so_many():
    seen = {}
    for _ in range(40):
        packed = replayed(3)({"lidar_path": "a.bin"})
        key = packed["data_samples"].replay_key
        assert seen.setdefault(key, packed["inputs"]) == packed["inputs"]
    assert sorted(key.split("|")[1] for key in seen) == ["0", "1", "2"]
    assert len({tuple(drawn) for drawn in seen.values()}) == 3


def test_other_frames_draw_otherwise():
    one, other = (replayed(1)({"lidar_path": name})["inputs"] for name in ("a.bin", "b.bin"))
    assert one != other


def test_generators_go_on_as_if_one_number_had_been_drawn():
    def state():
        return random.random(), np.random.rand(), float(torch.rand(1))

    def reset():
        random.seed(1)
        np.random.seed(1)
        torch.manual_seed(1)

    reset()
    np.random.randint(5)
    expected = state()
    reset()
    replayed(5)({"img_path": "a.png"})
    assert state() == expected


def test_other_settings_have_other_keys():
    steps = [{"type": "RandomFlip3D"}, {"type": "DrawsFromAll"}]
    keys = {
        ReplayedAugmentation(transforms, 1)({"img_path": "a"})["data_samples"].replay_key
        for transforms in (steps, steps[1:])
    }
    assert len(keys) == 2


def test_the_order_of_a_transforms_keys_changes_nothing():
    # MMEngine sorts them where it writes a config, so a recipe's run and tools/train.py differ
    step = {"type": "GlobalRotScaleTrans", "rot_range": [-1, 1], "scale_ratio_range": [0.9, 1.1]}
    backwards = dict(reversed(step.items()))
    with DefaultScope.overwrite_default_scope("mmdet3d"):
        assert len({ReplayedAugmentation([form], 1).digest for form in (step, backwards)}) == 1


def test_free_flips_are_drawn_anew():
    seen = []

    @TRANSFORMS.register_module(force=True)
    class PacksFlip:
        def __call__(self, results):
            seen.append((results["flipped"], np.random.rand()))
            return DrawsFromAll()(results)

    for free in (False, True):
        seen.clear()
        steps = [{"type": "RandomFlip3D"}, {"type": "PacksFlip"}]
        for _ in range(3):
            ReplayedAugmentation(steps, 1, free_flips=free)({"img_path": "a"})
        assert len({flip for flip, _ in seen}) == (3 if free else 1)
        assert len({rest for _, rest in seen}) == 1


IMAGE_KEYS = ("img_path", "img_shape")


@pytest.mark.parametrize("meta_keys", [IMAGE_KEYS, (*IMAGE_KEYS, "flip", "flip_direction")])
def test_a_free_flip_is_told_whatever_is_packed(meta_keys):
    """Else a teacher's cache takes flipped frames for straight ones."""
    steps = [
        {"type": "RandomFlip", "prob": [0.4, 0.4], "direction": ["horizontal", "vertical"]},
        {"type": "PackDetInputs", "meta_keys": meta_keys},
    ]
    with DefaultScope.overwrite_default_scope("mmdet"):
        free = ReplayedAugmentation(steps, 1, free_flips=True)
    straight = torch.from_numpy(image_frame("a", [])["img"]).permute(2, 0, 1)
    seen = []
    for _ in range(30):
        packed = free(image_frame("a", []))
        sample = packed["data_samples"]
        flip = flip_of(sample, packed["inputs"])
        seen.append((flip.rows, flip.columns))
        assert torch.equal(packed["inputs"], flipped(straight, flip))
        # what was cached under the key without them holds both
        assert sample.replay_key.endswith("|flips") is ("flip" not in meta_keys)
    assert set(seen) == {(False, False), (True, False), (False, True)}


@pytest.mark.parametrize("meta_keys", [(), ("pcd_horizontal_flip", "pcd_vertical_flip")])
def test_a_free_flip_of_points_is_told_whatever_is_packed(tmp_path, meta_keys):
    load, annotate, flip, *rest = toys3d.pipeline()
    rest[-1] = {**rest[-1], "meta_keys": meta_keys}
    step = {"type": "ReplayedAugmentation", "variants": 1, "free_flips": True}
    steps = [load, annotate, {**step, "transforms": [flip, *rest]}]
    infos = toys3d.lidar_frames(tmp_path, frames=1)
    with DefaultScope.overwrite_default_scope("mmdet3d"):
        frames = DATASETS.build(toys3d.dataset(infos, pipeline=steps))
    seen = {}
    for _ in range(30):
        packed = frames[0]
        flip = flip_of(packed["data_samples"], packed["inputs"])
        signs = torch.tensor([-1.0 if flip.columns else 1.0, -1.0 if flip.rows else 1.0])
        place = packed["inputs"]["points"][0, :2] * signs
        seen[flip] = place.tolist()
        assert packed["data_samples"].replay_key.endswith("|flips") is (not meta_keys)
    assert len(seen) == 4
    assert len({tuple(place) for place in seen.values()}) == 1


def test_what_cannot_be_replayed_is_refused():
    with pytest.raises(UserError, match="ObjectSample depends on other frames"):
        ReplayedAugmentation([{"type": "ObjectSample"}], 1)
    with pytest.raises(UserError, match="variants is 0"):
        replayed(0)
    with pytest.raises(UserError, match="last of its transforms has to be PackDetInputs"):
        ReplayedAugmentation([{"type": "RandomFlip3D"}], 1)({"img_path": "a"})
    with pytest.raises(UserError, match="without lidar_path and img_path"):
        frame_name({"token": "1"})


def test_an_image_of_one_camera_is_named_by_its_file():
    """NuScenesDataset takes each camera's image for a frame, and says so nowhere else."""
    camera = {"img_path": "samples/CAM_BACK/1.jpg", "cam2img": [[1.0]]}
    assert frame_name({"images": {"CAM_BACK": camera}}) == "samples/CAM_BACK/1.jpg"
    with pytest.raises(UserError, match="without lidar_path and img_path"):
        frame_name({"images": {"CAM_BACK": camera, "CAM_FRONT": camera}})


def test_seeded_gives_the_generators_back_after_an_error():
    before = np.random.get_state()[1].tolist()
    with contextlib.suppress(ZeroDivisionError), seeded(3):
        np.random.rand()
        _ = 1 / 0
    assert np.random.get_state()[1].tolist() == before


def test_in_a_lidar_pipeline(tmp_path):
    load, *rest = toys3d.pipeline()
    steps = [load, {"type": "ReplayedAugmentation", "variants": 1, "transforms": rest}]
    infos = toys3d.lidar_frames(tmp_path, frames=1)
    with DefaultScope.overwrite_default_scope("mmdet3d"):
        frames = DATASETS.build(toys3d.dataset(infos, pipeline=steps))
    one, two = frames[0], frames[0]
    assert torch.equal(one["inputs"]["points"], two["inputs"]["points"])
    key = one["data_samples"].metainfo["replay_key"]
    assert key.startswith(f"{tmp_path}/0.bin|0|")


def image_frame(name, boxes):
    from mmdet.structures.bbox import HorizontalBoxes

    return {
        "img": np.random.default_rng(0).integers(0, 255, (64, 96, 3)).astype(np.uint8),
        "img_shape": (64, 96),
        "img_path": name,
        "gt_bboxes": HorizontalBoxes(torch.tensor(boxes).view(-1, 4)),
        "gt_bboxes_labels": np.zeros(len(boxes), np.int64),
        "gt_ignore_flags": np.zeros(len(boxes), bool),
    }


@pytest.mark.parametrize(("kind", "same"), [("MinIoURandomCrop", False), ("RandomAffine", True)])
def test_a_frame_without_its_labels_is_another_only_where_they_are_read(kind, same):
    with DefaultScope.overwrite_default_scope("mmdet"):
        crops = ReplayedAugmentation(
            [{"type": kind}, {"type": "PackDetInputs", "meta_keys": ()}], 1
        )
    labels = [[[8.0, 8.0, 40.0, 40.0]]] * 2 + [[], [[8.0, 8.0, 40.0, 41.0]]]
    seen = []
    for name in "abcdefgh":
        packed = [crops(image_frame(name, boxes)) for boxes in labels]
        keys = [each["data_samples"].metainfo["replay_key"] for each in packed]
        assert keys[0] == keys[1]
        assert len(set(keys)) == (1 if same else 3)
        images = [each["inputs"] for each in packed]
        assert torch.equal(images[0], images[1])
        seen.append(torch.equal(images[0], images[2]))
    assert all(seen) is same  # some crops are the whole image


def test_sweeps_are_told_apart_beside_the_key(tmp_path):
    load, annotate, *rest = toys3d.pipeline(augmented=False)
    steps = [load, annotate, {"type": "ReplayedAugmentation", "variants": 1, "transforms": rest}]
    infos = toys3d.lidar_frames(tmp_path, frames=1)
    with DefaultScope.overwrite_default_scope("mmdet3d"):
        frames = DATASETS.build(toys3d.dataset(infos, pipeline=steps))
    sweeps = [{"timestamp": -0.5, "lidar_points": {"lidar_path": "b.bin"}}]
    info = frames.get_data_info(0)
    plain, joined, later = (
        frames.pipeline({**copy.deepcopy(info), **more})["data_samples"].metainfo
        for more in ({}, {"lidar_sweeps": sweeps}, {"lidar_sweeps": sweeps, "timestamp": 1.0})
    )
    assert plain["replay_key"] == joined["replay_key"] == later["replay_key"]
    assert plain["replay_sweeps"] == ""
    assert len({each["replay_sweeps"] for each in (plain, joined, later)}) == 3


def test_a_file_replaced_under_its_name_has_another_key_and_the_same_seed(tmp_path):
    path = tmp_path / "a.bin"
    seen = []
    for content, time_ns in ((b"1", 10), (b"12", 10), (b"34", 20)):
        path.write_bytes(content)
        os.utime(path, ns=(time_ns, time_ns))
        packed = replayed(1)({"lidar_path": str(path)})
        seen.append((packed["data_samples"].replay_key, packed["inputs"]))
    keys, drawn = zip(*seen, strict=True)
    assert len(set(keys)) == 3
    assert drawn[0] == drawn[1] == drawn[2]


def test_seeded_leaves_the_generators_of_gpus_alone(monkeypatch):
    touched = []
    monkeypatch.setattr(torch.cuda, "manual_seed_all", touched.append)
    with seeded(3):
        first = torch.rand(1)
    with seeded(3):
        assert torch.rand(1) == first
    assert not touched
