import cv2
import numpy as np
import pytest
import torch
from mmcv.transforms import LoadAnnotations, Pad, Resize
from mmdet.datasets.transforms import PackDetInputs
from mmengine.config import Config

from kd3d.errors import UserError
from kd3d.export.preprocessing import (
    describe_preprocessing,
    image_input,
    input_size,
    jsonable,
    pad_to_size,
)

RESIZE = {"type": "Resize", "scale": (1333, 800), "keep_ratio": True}


def config(*steps, divisor=32, **dataset):
    pipeline = [{"type": "LoadImageFromFile"}, *steps, {"type": "LoadAnnotations"}]
    return Config(
        {
            "model": {"data_preprocessor": {"pad_size_divisor": divisor}},
            "test_dataloader": {"dataset": {"pipeline": pipeline, **dataset}},
        }
    )


@pytest.mark.parametrize(
    ("steps", "divisor", "expected"),
    [
        ([RESIZE], 32, (800, 1344)),  # 1333 / 32 = 41.66 -> 42 * 32
        ([RESIZE], 1, (800, 1333)),
        ([{"type": "mmdet.Resize", "scale": (96, 160), "keep_ratio": True}], 32, (96, 160)),
        ([{"type": "Resize", "scale": (96, 160), "keep_ratio": False}], 32, (160, 96)),
        ([{"type": "Resize", "scale": 250}], 32, (256, 256)),
        ([RESIZE, {"type": "Pad", "size": (1344, 768)}], 32, (768, 1344)),
        ([RESIZE, {"type": "Pad", "pad_to_square": True}], 1, (1333, 1333)),
    ],
)
def test_input_size(steps, divisor, expected):
    assert input_size(config(*steps, divisor=divisor)) == expected


@pytest.mark.parametrize(
    ("scale", "words"),
    [((1333, float("inf")), "leaves the size to each image"), ("(96, 64)", "expected one number")],
)
def test_a_scale_of_no_size_is_refused(scale, words):
    step = {"type": "Resize", "scale": scale, "keep_ratio": True}
    with pytest.raises(UserError, match=rf"Resize\(scale=...\): got .*{words}"):
        input_size(config(step))


def test_input_size_unknown_names_the_flag():
    with pytest.raises(UserError, match="--input-size H W"):
        input_size(config())


def test_image_is_what_the_test_loop_gives(build, tmp_path):
    detector, cfg = build("retinanet")  # resizes into 96 x 64, RGB, normalised
    path = tmp_path / "red.png"
    picture = np.zeros((16, 12, 3), np.uint8)
    picture[..., 2] = 200  # BGR: red
    cv2.imwrite(str(path), picture)
    array = image_input(cfg, detector, path, (96, 96))
    assert array.shape == (1, 3, 96, 96)
    red, green = array[0, 0], array[0, 1]
    # 16 x 12 grows by 5.33 (64 of the short edge would be 85 high, so 96 is the limit: by 6)
    scale = min(96 / 16, 64 / 12)
    height, width = round(16 * scale), round(12 * scale)
    np.testing.assert_allclose(red[:height, :width], (200 - 123.675) / 58.395, rtol=1e-5)
    np.testing.assert_allclose(green[:height, :width], (0 - 116.28) / 57.12, rtol=1e-5)
    assert (array[..., height:, :] == 0).all()
    cut = image_input(cfg, detector, path, (32, 96))
    np.testing.assert_array_equal(cut, array[:, :, :32])
    with pytest.raises(UserError, match="no image at"):
        image_input(cfg, detector, tmp_path / "absent.png", (96, 96))
    (tmp_path / "empty.png").touch()
    with pytest.raises(UserError, match=r"empty\.png: the file is empty"):
        image_input(cfg, detector, tmp_path / "empty.png", (96, 96))


def test_padding_right_and_below_and_refusal():
    padded = pad_to_size(torch.ones(1, 3, 2, 3), (3, 5), 7.0)
    assert padded[0, 0].tolist() == [[1, 1, 1, 7, 7], [1, 1, 1, 7, 7], [7, 7, 7, 7, 7]]
    with pytest.raises(UserError, match=r"4x3 \(H x W\).*takes 3x5.*--input-size"):
        pad_to_size(torch.ones(1, 3, 4, 3), (3, 5), 0.0)


def test_description_holds_plain_values(build):
    described = describe_preprocessing(build("fcos")[1])
    assert described["mean"] == [100.0, 110.0, 120.0]
    assert described["bgr_to_rgb"] is False
    assert described["pad_size_divisor"] == 32
    assert described["pipeline"] == [{"type": "Resize", "scale": [96, 64], "keep_ratio": True}]
    assert describe_preprocessing(config())["mean"] is None


def test_steps_may_be_classes():
    steps = [{"type": Resize, "scale": (96, 64)}, {"type": Pad, "size": (96, 80)}]
    cfg = config(*steps)
    cfg.test_dataloader.dataset.pipeline += [{"type": LoadAnnotations}, {"type": PackDetInputs}]
    assert input_size(cfg) == (96, 96)
    described = describe_preprocessing(cfg)["pipeline"]
    assert [step["type"] for step in described] == ["Resize", "Pad"]
    assert jsonable({"transforms": [{"type": Resize}]}) == {"transforms": [{"type": "Resize"}]}
