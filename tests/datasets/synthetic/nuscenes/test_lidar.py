"""What the LiDAR returns from a few solids."""

import math

import numpy as np
import pytest

from kd3d.datasets.synthetic.nuscenes.lidar import (
    FIRINGS,
    MOUNT_M,
    WEATHER,
    Weather,
    lidar_pose,
    points_inside,
    scan,
)
from kd3d.datasets.synthetic.nuscenes.materials import MATERIAL_INDEX
from kd3d.datasets.synthetic.nuscenes.scene import Ground
from kd3d.datasets.synthetic.nuscenes.solids import (
    BOX,
    CONE,
    CYLINDER,
    ELLIPSOID,
    GROUND,
    Solids,
)
from kd3d.datasets.synthetic.nuscenes.tracks import Pose

CONCRETE = MATERIAL_INDEX["concrete"]
GRASS = Ground(np.full((4, 4), MATERIAL_INDEX["grass"], np.int8), -200.0, -200.0, 100.0)
EGO = Pose(50.0, -20.0, 0.7)
CALM = Weather(0.0, 1.0, 0.0, 0.0, 0.0)  # no noise, no drop-out, but weak returns still vanish


def owned(rows, owners) -> Solids:
    parts = [
        Solids.of([row]).moved(0, 0, 0.0, owner) for row, owner in zip(rows, owners, strict=True)
    ]
    return Solids.joined(parts)


def ahead(solids: Solids) -> Solids:
    """Solids given in the LiDAR's frame on the ground, in the global frame."""
    sensor = lidar_pose(EGO)
    center = solids.center.copy()
    center[:, :2] = sensor.to_global(center[:, :2])
    return Solids(
        solids.kind, center, solids.half, solids.yaw + sensor.yaw, solids.material, solids.owner
    )


def test_mount_looks_ahead_along_y():
    pose = lidar_pose(Pose(10.0, 20.0, math.pi / 2))
    assert pose == pytest.approx((10, 20 + MOUNT_M[0], 0))  # heading north: x right is east
    assert pose.to_global(np.array([[0.0, 5.0]])) == pytest.approx(
        np.array([[10, 25 + MOUNT_M[0]]])
    )


@pytest.mark.parametrize(
    ("kind", "front_m"),  # of a solid 10 m ahead with half extents of 1 m, at the LiDAR's height
    [(BOX, 9.0), (CYLINDER, 9.0), (ELLIPSOID, 9.0), (CONE, 9.5)],
)
def test_ranges_of_hand_made_solids(kind, front_m):
    # the beam nearest to the horizon: 23 * 1.3335 - 30.67 = 0.0016 degrees, straight ahead
    beam, column = 23, FIRINGS // 4
    solids = ahead(owned([(kind, (0, 10, MOUNT_M[2]), (1, 1, 1), 0.0, CONCRETE)], [0]))
    points = scan(solids, GRASS, EGO, CALM, 1, seed=0).points
    hit = points[(points[:, 4] == beam) & (np.abs(points[:, 0]) < 0.02) & (points[:, 1] > 0)]
    assert len(hit) == 1
    assert hit[0, :3] == pytest.approx((0, front_m, 0), abs=1e-3)
    assert column == 271


def test_rings_on_the_ground():
    points = scan(Solids.of([]), GRASS, EGO, CALM, 0, seed=0).points
    assert points.dtype == np.float32
    ring = points[points[:, 4] == 0]
    assert len(ring) > 0.98 * FIRINGS
    expected = MOUNT_M[2] / math.tan(math.radians(30.67))  # 3.1 m away
    noise_m = np.hypot(0.02, 0.008 / math.sin(math.radians(30.67)))  # grass, and its unevenness
    assert np.hypot(ring[:, 0], ring[:, 1]).mean() == pytest.approx(expected, abs=0.005)
    assert np.hypot(ring[:, 0], ring[:, 1]).std() < 1.2 * noise_m
    assert points[:, 4].max() <= 22  # beams from the horizon up meet nothing
    assert points[:, 3].min() >= 0
    assert points[:, 3].max() <= 255


def test_occlusion_leaves_only_what_shows():
    wall = (BOX, (0, 8, 2), (3, 0.2, 2), 0.0, CONCRETE)
    behind = (BOX, (0, 15, 1), (1, 1, 1), 0.0, CONCRETE)
    beside = (BOX, (12, 0, 1), (1, 1, 1), 0.0, CONCRETE)
    sweep = scan(ahead(owned([wall, behind, beside], [-1, 0, 1])), GRASS, EGO, CALM, 2, seed=0)
    assert sweep.possible[0] > 50
    assert sweep.seen[0] == 0
    assert sweep.seen[1] == sweep.possible[1] > 50
    assert set(sweep.owner.tolist()) == {-1, 1}


def test_rays_of_an_actor_count_once():
    block = (BOX, (0, 10, 1), (1, 1, 1), 0.0, CONCRETE)
    one = scan(ahead(owned([block], [0])), GRASS, EGO, CALM, 1, seed=0)
    both = scan(ahead(owned([block, block], [0, 0])), GRASS, EGO, CALM, 1, seed=0)
    # Its front, 2 m wide 9 m away, covers 2 atan(1 / 9) = 12.7 degrees, 38 firings; from
    # atan(-1.84 / 9) = -11.6 to atan(0.16 / 9) = 1.0 degrees lie beams 15 to 23.
    firings = 2 * math.degrees(math.atan(1 / 9)) / 360 * FIRINGS
    assert one.possible[0] == pytest.approx(9 * firings, rel=0.05)
    assert both.possible[0] == one.possible[0]


def test_leaves_let_rays_through():
    bush = (ELLIPSOID, (0, 8, 2), (2, 2, 2), 0.0, MATERIAL_INDEX["foliage"])
    wall = (BOX, (0, 15, 2), (6, 0.5, 2), 0.0, CONCRETE)
    sweep = scan(ahead(owned([bush, wall], [0, 1])), GRASS, EGO, CALM, 2, seed=0)
    solid = (ELLIPSOID, (0, 8, 2), (2, 2, 2), 0.0, CONCRETE)
    rays = scan(ahead(owned([solid, wall], [0, 1])), GRASS, EGO, CALM, 2, seed=0).seen[0]
    assert sweep.seen[0] / rays == pytest.approx(0.65, abs=0.03)


def test_night_and_rain_weaken_returns():
    rows = [(BOX, (0, d, 1), (1, 1, 1), 0.0, CONCRETE) for d in (10, -25)]
    solids = ahead(owned(rows, [0, 1]))
    day, night = (scan(solids, GRASS, EGO, WEATHER[d], 2, seed=3) for d in ("day", "night"))
    assert len(night.points) < 0.9 * len(day.points)
    for owner in (0, 1):
        bright = day.points[day.owner == owner, 3].mean()
        dark = night.points[night.owner == owner, 3].mean()
        assert dark < 0.6 * bright


def test_same_seed_same_points():
    solids = ahead(owned([(BOX, (0, 10, 1), (1, 1, 1), 0.0, CONCRETE)], [0]))
    first, again, other = (scan(solids, GRASS, EGO, WEATHER["day"], 1, s).points for s in (5, 5, 6))
    assert first.tobytes() == again.tobytes() != other.tobytes()


def test_no_solids_no_owner():
    sweep = scan(Solids.of([]), GRASS, EGO, CALM, 0, seed=0)
    assert (sweep.owner == -1).all()
    assert len(sweep.possible) == len(sweep.seen) == 0
    assert GROUND == -1


def test_points_in_boxes():
    points = np.array([[0, 0, 0], [0.9, 0, 0], [0, 0.9, 0], [0, 0, 1.1]], dtype=np.float32)
    center = np.zeros((2, 3))
    size = np.array([[2.0, 1.0, 2.0], [2.0, 1.0, 2.0]])
    assert points_inside(points, center, size, np.array([0, math.pi / 2])).tolist() == [2, 2]
    assert points_inside(points, center + 5, size, np.zeros(2)).tolist() == [0, 0]
