"""Scenes are determined by their seed, and their labels fit what was drawn."""

import numpy as np
import pytest

from kd3d.datasets.synthetic.traffic_scenes import CATEGORIES, MIN_SIDE_PX, render_scene


@pytest.fixture(scope="module")
def scenes():
    return [render_scene(3, index) for index in range(20)]


def test_same_seed_and_index_give_the_same_scene(scenes):
    image, labels = render_scene(3, 5)
    assert np.array_equal(image, scenes[5][0])
    assert labels == scenes[5][1]


def test_scenes_differ(scenes):
    assert not np.array_equal(scenes[0][0], scenes[1][0])
    assert not np.array_equal(scenes[0][0], render_scene(4, 0)[0])


def test_boxes_are_inside_the_image_and_visible(scenes):
    labels = [label for _, found in scenes for label in found]
    assert len(labels) > 40
    for label in labels:
        x1, y1, x2, y2 = label.box_px
        assert 0 <= x1 < x2 <= 320
        assert 0 <= y1 < y2 <= 192
        assert min(x2 - x1, y2 - y1) >= MIN_SIDE_PX
    assert {label.category for label in labels} == set(range(len(CATEGORIES)))


def test_image_has_the_size_asked_for():
    image, _ = render_scene(0, 0, size=(160, 96))
    assert (image.shape, image.dtype) == ((96, 160, 3), np.uint8)


def test_far_road_users_are_smaller(monkeypatch):
    # one car of the same shape at 10 m and at 20 m: half as tall, as 1 / z says
    heights = {}
    for z_m in (10.0, 20.0):
        monkeypatch.setattr(
            "kd3d.datasets.synthetic.traffic_scenes._choose", lambda rng, z_m=z_m: [_car(z_m)]
        )
        _, (label,) = render_scene(0, 0)
        heights[z_m] = label.box_px[3] - label.box_px[1]
    assert heights[20.0] == pytest.approx(heights[10.0] / 2, abs=1.0)  # edges snap to half pixels


def test_hidden_road_users_have_no_label(monkeypatch):
    monkeypatch.setattr(
        "kd3d.datasets.synthetic.traffic_scenes._choose", lambda rng: [_car(20.0), _wall(8.0)]
    )
    assert render_scene(0, 0)[1] == []


def test_box_is_around_what_is_left_to_see(monkeypatch):
    # the wall covers everything right of the middle of the car
    monkeypatch.setattr("kd3d.datasets.synthetic.traffic_scenes._choose", lambda rng: [_car(10.0)])
    _, (whole,) = render_scene(0, 0)
    monkeypatch.setattr(
        "kd3d.datasets.synthetic.traffic_scenes._choose",
        lambda rng: [_car(10.0), _wall(9.9, left_m=0.0)],
    )
    _, (half,) = render_scene(0, 0)
    width = whole.box_px[2] - whole.box_px[0]
    assert half.box_px[2] - half.box_px[0] == pytest.approx(width / 2, abs=1.0)
    assert half.box_px[0] == whole.box_px[0]


def _car(z_m):
    from kd3d.datasets.synthetic.shapes import box
    from kd3d.datasets.synthetic.traffic_scenes import _Standing

    return _Standing(0, [box(-1, 0, 1, 1.5, (10, 20, 30))], 0.0, z_m)


def _wall(z_m, left_m=-3.0):
    from kd3d.datasets.synthetic.shapes import box
    from kd3d.datasets.synthetic.traffic_scenes import _Standing

    return _Standing(-1, [box(left_m, 0, 3, 4, (90, 90, 90))], 0.0, z_m)
