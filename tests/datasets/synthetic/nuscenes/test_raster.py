"""Each pixel sees the nearest solid; what an actor would cover alone is counted beside."""

import numpy as np
import pytest
from nearest_hit import nearest_hit

from kd3d.datasets.synthetic.nuscenes import textures
from kd3d.datasets.synthetic.nuscenes.painting import Painting
from kd3d.datasets.synthetic.nuscenes.raster import View, rasterise, rectangles_px
from kd3d.datasets.synthetic.nuscenes.solids import (
    BOX,
    CONE,
    CYLINDER,
    ELLIPSOID,
    GROUND,
    SKY,
    Solids,
)

AHEAD_X = np.array([[0.0, 0, 1], [-1, 0, 0], [0, -1, 0]])  # global from camera, looking along x
INTRINSIC = np.array([[100.0, 0, 99.5], [0, 100, 49.5], [0, 0, 1]])
VIEW = View(np.array([0.0, 0.0, 1.5]), AHEAD_X, INTRINSIC, (200, 100))


def plain(solids, texture=textures.PLAIN):
    count = len(solids)
    kinds = np.full(count, texture, dtype=np.int8)
    return Painting(kinds, np.ones((count, 3)), np.arange(count))


def boxes(*rows):
    """Boxes of (x, y, half y, owner), 2 m high, 0.2 m thick behind x."""
    solids = Solids.of(
        [(BOX, (x + 0.1, y, 1.0), (0.1, half, 1.0), 0.0, 0) for x, y, half, _ in rows]
    )
    solids.owner[:] = [row[3] for row in rows]
    return solids


def test_a_wall_covers_the_pixels_worked_out_by_hand():
    # 10 m ahead, 2 m wide: 100 / 10 * 1 = 10 pixels either side of column 99.5.
    # Its top is 0.5 m above the lens (row 49.5 - 5), its foot 1.5 m below (row 49.5 + 15).
    wall = boxes((10.0, 0.0, 1.0, 0))
    raster = rasterise(wall, plain(wall), VIEW, 1)
    rows, columns = np.nonzero(raster.index == 0)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (45, 64, 90, 109)
    assert raster.alone_px.tolist() == [20 * 20]
    assert raster.depth_m[50, 100] == pytest.approx(10.0)
    assert raster.index[20, 20] == SKY
    assert raster.index[80, 20] == GROUND
    assert raster.depth_m[80, 20] == pytest.approx(1.5 / ((80 - 49.5) / 100))


@pytest.mark.parametrize("order", [[0, 1], [1, 0]])
def test_a_box_hides_what_is_behind_it(order):
    # The near one, 5 m ahead, reaches from the middle to 1 m left: columns 79.5 to 99.5.
    both = boxes((10.0, 0.0, 1.0, 0), (5.0, 0.5, 0.5, 1))[np.array(order)]
    raster = rasterise(both, plain(both), VIEW, 2)
    owner = both.owner[np.maximum(raster.index, 0)] * (raster.index >= 0) - (raster.index < 0)
    assert np.sum(owner == 0) == 10 * 20  # right half
    assert np.sum(owner == 1) == 20 * 40
    assert raster.alone_px.tolist() == [400, 800]


def test_parts_of_one_actor_do_not_hide_it():
    both = boxes((10.0, 0.0, 1.0, 0), (9.0, 0.0, 0.5, 0))
    raster = rasterise(both, plain(both), VIEW, 1)
    assert raster.alone_px[0] == np.sum(raster.index >= 0)


@pytest.mark.parametrize(("x", "y"), [(-5.0, 0.0), (1.0, 30.0)])  # behind; beside
def test_what_the_image_does_not_hold_has_an_empty_rectangle(x, y):
    left, _, right, _ = rectangles_px(boxes((x, y, 1.0, 0)), VIEW)[0]
    assert right == left


def test_a_wall_that_passes_the_camera_is_cut_at_its_plane():
    # From 5 m behind to 5 m ahead, 2 m to the left: seen from the left edge to column
    # 99.5 - 100 * 2 / 5 = 59.5.
    wall = Solids.of([(BOX, (0.0, 2.1, 1.0), (5.0, 0.1, 1.0), 0.0, 0)])
    left, _, right, bottom = rectangles_px(wall, VIEW)[0]
    assert (left, bottom) == (0, 100)
    raster = rasterise(wall, plain(wall), VIEW, 0)
    columns = np.nonzero(raster.index == 0)[1]
    assert (columns.min(), columns.max()) == (0, 59)
    assert right >= 60


def test_raster_equals_the_loop_over_all_solids():
    rng = np.random.default_rng(3)
    rows = []
    for place in range(40):
        half = rng.uniform(0.2, 1.5, 3)
        x, y = rng.uniform(2, 30), rng.uniform(-15, 15)
        kind = (BOX, CYLINDER, ELLIPSOID, CONE)[place % 4]
        rows.append((kind, (x, y, half[2]), tuple(half), rng.uniform(-3, 3), 0))
    solids = Solids.of(rows)
    solids.owner[:20] = np.arange(20) // 2
    small = View(VIEW.origin_m, AHEAD_X, INTRINSIC * [[0.3], [0.3], [1]], (60, 30))
    raster = rasterise(solids, plain(solids), small, 10)
    rays = np.linalg.inv(small.intrinsic)
    for row in range(30):
        for column in range(60):
            ray = rays @ (column, row, 1)
            direction = AHEAD_X @ ray
            length = np.linalg.norm(direction)
            hit = nearest_hit(
                solids.kind, solids.center, solids.half, solids.yaw,
                *small.origin_m, *(direction / length),
            )  # fmt: skip
            assert raster.index[row, column] == hit[1]
            assert raster.depth_m[row, column] == pytest.approx(hit[0] / length, rel=1e-5)
    assert len(np.unique(raster.index)) > 15


def test_leaves_have_holes_at_their_rim():
    bush = Solids.of([(ELLIPSOID, (6.0, 0.0, 1.5), (1.0, 1.0, 1.0), 0.0, 0)])
    closed = rasterise(bush, plain(bush), VIEW, 0).index == 0
    leaves = rasterise(bush, plain(bush, textures.LEAVES), VIEW, 0).index == 0
    assert 0.5 * closed.sum() < leaves.sum() < closed.sum()
    assert leaves[48:52, 97:103].all()  # none where the bush faces the camera
