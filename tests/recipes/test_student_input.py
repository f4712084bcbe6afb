import copy

import pytest
from mmengine.config import Config

from kd3d.configs import load_config
from kd3d.export.preprocessing import input_size
from kd3d.recipes.student_input import scale_input


def config(steps, **changes):
    loader = {"dataset": {"pipeline": steps}}
    return Config({"model": {}, "train_dataloader": copy.deepcopy(loader), **changes})


def test_sizes_shrink_and_all_else_stays():
    steps = [
        {"type": "LoadImageFromFile"},
        {"type": "mmdet.RandomResize", "scale": (1333, 800), "ratio_range": (0.5, 2.0)},
        {"type": "RandomCrop", "crop_size": (640, 640)},
        {"type": "RandomCrop", "crop_type": "relative_range", "crop_size": (0.8, 0.8)},
        {"type": "RandomChoiceResize", "scales": [(1333, 640), (1333, 800)]},
        {"type": "Pad", "size": (640, 640), "pad_val": {"img": (114, 114, 114)}},
        {"type": "Pad", "size_divisor": 32},
    ]
    scaled = config(steps)
    scale_input(scaled, 0.75)
    found = scaled.train_dataloader.dataset.pipeline
    assert found[1].scale == (1000, 608)  # 1333 * 0.75 = 999.75; 800 * 0.75 = 600, to 19 * 32
    assert found[1].ratio_range == (0.5, 2.0)
    assert found[2]["crop_size"] == (480, 480)
    assert found[3]["crop_size"] == (0.8, 0.8)
    assert found[4]["scales"] == [(1000, 480), (1000, 608)]
    assert found[5] == {"type": "Pad", "size": (480, 480), "pad_val": {"img": (114, 114, 114)}}
    assert found[6] == {"type": "Pad", "size_divisor": 32}


@pytest.mark.parametrize(
    ("factor", "expected"),
    [
        (0.5, 320),
        (0.6, 384),  # 12 * 32
        (0.75, 480),  # 15 * 32
    ],
)
def test_multiples_of_32_stay_such(factor, expected):
    scaled = config([{"type": "Resize", "scale": (640, 640)}])
    scale_input(scaled, factor)
    assert scaled.train_dataloader.dataset.pipeline[0]["scale"] == (expected, expected)


def test_hooks_and_batch_augmentations_are_scaled_too():
    rtmdet = load_config("mmdet::rtmdet/rtmdet_s_8xb32-300e_coco.py")
    scale_input(rtmdet, 0.5)
    switched = next(h for h in rtmdet.custom_hooks if h.type == "PipelineSwitchHook")
    resize = next(step for step in switched.switch_pipeline if step.type == "RandomResize")
    assert resize.scale == (320, 320)
    assert input_size(rtmdet) == (320, 320)
    yolox = load_config("mmdet::yolox/yolox_tiny_8xb8-300e_coco.py")
    before = yolox.model.data_preprocessor.batch_augments[0].random_size_range
    scale_input(yolox, 0.5)
    after = yolox.model.data_preprocessor.batch_augments[0].random_size_range
    assert after == tuple(size // 2 for size in before) == (160, 320)


def test_factor_1_changes_nothing():
    steps = [{"type": "Resize", "scale": (1333, 800), "keep_ratio": True}]
    scaled = config(steps)
    scale_input(scaled, 1.0)
    assert scaled.train_dataloader.dataset.pipeline == steps
