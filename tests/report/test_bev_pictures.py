import io
import re

import numpy as np
from nuscenes_work import fabricate_nuscenes
from PIL import Image

from kd3d.report.bev_frames import BevBoxes, BevFrame
from kd3d.report.bev_pictures import bev_pictures, point_image, range_of
from kd3d.report.record import find_records
from kd3d.report.summary import summarize


def test_points_are_painted_where_they_are():
    points_m = np.array([[0.1, 0.1], [10.1, -20.1], [10.1, -20.1], [60.0, 0.0]], dtype=np.float32)
    image = np.asarray(Image.open(io.BytesIO(point_image(points_m, 52.0))))
    assert image.shape == (520, 520, 2)  # 104 m of 5 pixels, grey and alpha
    alpha = image[..., 1]
    # right is x, up is y: column (52 + x) * 5, row 519 - (52 + y) * 5, each rounded down
    assert {(row, column) for row, column in zip(*np.nonzero(alpha), strict=True)} == {
        (519 - 260, 260),
        (519 - 159, 310),
    }
    assert alpha[360, 310] > alpha[259, 260] > 100  # two points are brighter than one


def frame_of(points_m, corners_m):
    count = len(corners_m)
    boxes = BevBoxes(
        np.reshape(corners_m, (count, 4, 2)).astype(float), np.zeros(count, int), np.ones(count)
    )
    return BevFrame("", np.reshape(points_m, (-1, 2)).astype(np.float32), boxes, {})


def test_a_picture_reaches_as_far_as_points_and_objects():
    square = [[1, 1], [1, -1], [-1, -1], [-1, 1]]
    assert range_of(frame_of([[3, -24.7], [0, 9]], [square])) == 25
    assert range_of(frame_of([[3, 4]], [[[x + 30, y] for x, y in square]])) == 31
    assert range_of(frame_of([[3, 90]], [])) == 52
    assert range_of(frame_of([], [])) == 52


def test_points_are_painted_finer_where_the_picture_reaches_less_far():
    points_m = np.array([[10.1, -5.1]], dtype=np.float32)
    alpha = np.asarray(Image.open(io.BytesIO(point_image(points_m, 26.0))))[..., 1]
    # 10 pixels a metre: column (26 + 10.1) * 10, row 519 - (26 - 5.1) * 10
    assert list(zip(*np.nonzero(alpha), strict=True)) == [(519 - 209, 361)]


def test_a_row_of_panels_with_what_each_model_found(tmp_path):
    rows, reason = bev_pictures(summarize(find_records(fabricate_nuscenes(tmp_path))))
    assert reason == ""
    assert len(rows) == 4
    last = rows[-1]
    captions = re.findall("<figcaption>(.*?)</figcaption>", last)
    assert [caption.split(":")[0] for caption in captions] == ["teacher", "baseline", "distilled"]
    objects = int(re.search(r"frame 11 of 12: (\d+) objects", last)[1])
    for panel, caption in zip(last.split("<figure>")[1:], captions, strict=True):
        found, of, false = map(int, re.findall(r"\d+", caption))
        assert of == objects == panel.count('class="box object')
        assert panel.count('class="box object missed"') == objects - found
        role = caption.split(":")[0]
        assert panel.count(f'class="box role-{role} false"') == false
        assert panel.count(f'class="box role-{role}"') == found
    assert last.count("data:image/png;base64,") == 1
    assert last.count('href="#bev-3"') == 3
