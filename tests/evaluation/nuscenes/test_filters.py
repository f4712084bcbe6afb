import math

import numpy as np
from nuscenes.utils.data_classes import Box
from nuscenes.utils.geometry_utils import points_in_box
from pyquaternion import Quaternion

from kd3d.evaluation.nuscenes import CLASSES, CVPR_2019, Boxes, GroundTruth
from kd3d.evaluation.nuscenes.filters import counting, rack_edges


def boxes(rows: list) -> Boxes:
    """Boxes of (frame, class, x, y, points)."""
    count = len(rows)
    return Boxes.of(
        {
            "frame": [row[0] for row in rows],
            "label": [CLASSES.index(row[1]) for row in rows],
            "center_m": [[row[2], row[3], 0.5] for row in rows],
            "size_m": [[1, 1, 1]] * count,
            "rotation": [[1, 0, 0, 0]] * count,
            "velocity": [[0, 0]] * count,
            "score": [0.5] * count,
            "attribute": [-1] * count,
            "points": [row[4] for row in rows],
        }
    )


def truth(racks: list = ()) -> GroundTruth:
    """Two frames, the ego vehicle at (100, 200) and (0, 0); racks of (frame, x, y, yaw)."""
    half = np.array([yaw / 2 for *_, yaw in racks])
    return GroundTruth(
        tokens=("a", "b"),
        ego_m=np.array([[100.0, 200.0, 7.0], [0.0, 0.0, 0.0]]),
        boxes=Boxes.empty(),
        rack_frame=np.array([frame for frame, *_ in racks], dtype=int),
        rack_m=rack_edges(
            np.array([[x, y, 0.5] for _, x, y, _ in racks]).reshape(-1, 3),
            np.array([[2.0, 6.0, 1.0]] * len(racks)).reshape(-1, 3),  # width, length, height
            np.stack([np.cos(half), 0 * half, 0 * half, np.sin(half)], axis=1),
        ),
    )


def test_range_by_class_from_the_ego_vehicle_of_the_frame():
    rows = [
        (0, "car", 149.0, 200.0, -1),  # 49 of 50 m
        (0, "car", 150.0, 200.0, -1),  # 50 m is too far
        (0, "pedestrian", 149.0, 200.0, -1),  # 49 of 40 m
        (0, "barrier", 100.0, 229.0, -1),  # 29 of 30 m
        (1, "car", 100.0, 200.0, -1),  # where the vehicle was in the other frame
        (1, "traffic_cone", 18.0, 24.0, -1),  # 30 m
    ]
    counts = counting(boxes(rows), truth(), CVPR_2019)
    assert counts.tolist() == [True, False, False, True, False, False]


def test_without_points_none_counts():
    rows = [(1, "car", 0.0, 0.0, points) for points in (-1, 0, 1)]
    assert counting(boxes(rows), truth(), CVPR_2019).tolist() == [True, False, True]


def test_cycles_in_a_rack_of_their_frame_do_not_count():
    racks = [(1, 10.0, 0.0, math.pi / 2), (1, 20.0, 0.0, 0.0)]  # the first 6 m along y, 2 along x
    rows = [
        (1, "bicycle", 10.0, 2.9, -1),
        (1, "bicycle", 12.9, 0.0, -1),
        (1, "motorcycle", 10.9, -2.9, -1),
        (1, "pedestrian", 10.0, 0.0, -1),
        (1, "bicycle", 22.9, 0.9, -1),
        (0, "bicycle", 100.0, 200.0, -1),
    ]
    counts = counting(boxes(rows), truth(racks), CVPR_2019)
    assert counts.tolist() == [False, True, False, True, False, True]


def test_rack_edges_decide_as_the_devkit():
    random = np.random.default_rng(0)
    center_m, size_m = random.uniform(-100, 100, (40, 3)), random.uniform(1, 5, (40, 3))
    rotation = random.normal(size=(40, 4))
    racks = rack_edges(center_m, size_m, rotation)
    found = Boxes.of(
        {
            "frame": np.arange(40).repeat(50),
            "label": [CLASSES.index("bicycle")] * 2000,
            "center_m": center_m.repeat(50, axis=0) + random.uniform(-3, 3, (2000, 3)),
            "size_m": np.ones((2000, 3)),
            "rotation": np.ones((2000, 4)),
            "velocity": np.zeros((2000, 2)),
            "score": np.ones(2000),
            "attribute": [-1] * 2000,
            "points": [-1] * 2000,
        }
    )
    ground = GroundTruth(("",) * 40, center_m, Boxes.empty(), np.arange(40), racks)
    inside = ~counting(found, ground, CVPR_2019)
    devkit = [Box(c, s, Quaternion(q)) for c, s, q in zip(center_m, size_m, rotation, strict=True)]
    expected = [
        bool(points_in_box(devkit[frame], point[:, None])[0])
        for frame, point in zip(found.frame, found.center_m, strict=True)
    ]
    assert inside.tolist() == expected
    assert 100 < sum(expected) < 1900
