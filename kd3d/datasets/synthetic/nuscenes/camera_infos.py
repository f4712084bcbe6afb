"""The camera part of mmdet3d's infos: each image's matrices, and the boxes projected into it.

The same numbers as mmdet3d's ``get_nuscenes_2d_boxes`` gives: an image lists each scored object
whose box has its middle ahead of the lens and some part within the image, hidden or not.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from shapely.geometry import MultiPoint, Polygon, box

from kd3d.datasets.synthetic.nuscenes.cameras import HEIGHT_PX, WIDTH_PX

ATTRIBUTE_LABELS = (  # mmdet3d's order
    "cycle.with_rider",
    "cycle.without_rider",
    "pedestrian.moving",
    "pedestrian.standing",
    "pedestrian.sitting_lying_down",
    "vehicle.moving",
    "vehicle.parked",
    "vehicle.stopped",
    None,
)
Info = dict[str, Any]  # Any: mmdet3d's fields differ in type
Array = NDArray[np.float64]
_CORNERS = np.array([(x, y, z) for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)]) / 2


def camera_instance(
    box2cam: Array,
    size_m: Array,
    velocity_mps: Array,
    intrinsic: Array,
    label: int,
    attribute: str | None,
) -> Info | None:
    """An object in one image; None if the image does not reach it.

    Args:
        box2cam: (4, 4), from the box's own axes about its middle to the camera's.
        size_m: (3,) length, width, height.
        velocity_mps: (3,) in the camera's axes.
        intrinsic: (3, 3) in pixels.
        label: class of the object.
        attribute: its name; None for a class without.
    """
    box_px = box_in_image(box2cam, size_m, intrinsic)
    center = box2cam[:3, 3]
    if box_px is None or center[2] <= 0:
        return None
    length, width, height = size_m.tolist()
    # the heading as the devkit's quaternions give it, from a box that is turned about all axes
    yaw = float(np.arctan2(-box2cam[0, 1], box2cam[0, 0]))
    pixel = intrinsic @ center
    return {
        "bbox_label": label,
        "bbox_label_3d": label,
        "bbox": list(box_px),
        "bbox_3d_isvalid": True,
        "bbox_3d": [*center.tolist(), length, height, width, -yaw],
        "velocity": velocity_mps[[0, 2]].tolist(),
        "center_2d": (pixel[:2] / pixel[2]).tolist(),
        "depth": float(center[2]),
        "attr_label": ATTRIBUTE_LABELS.index(attribute),
    }


def box_in_image(
    box2cam: Array, size_m: Array, intrinsic: Array
) -> tuple[float, float, float, float] | None:
    """Bounds in pixels of the image's share of a projected box: left, top, right, bottom."""
    corners = (_CORNERS * size_m) @ box2cam[:3, :3].T + box2cam[:3, 3]
    corners = corners[corners[:, 2] > 0]
    if not len(corners):
        return None
    projected = corners @ intrinsic.T
    hull = MultiPoint(projected[:, :2] / projected[:, 2:]).convex_hull
    inside = hull.intersection(box(0, 0, WIDTH_PX, HEIGHT_PX))
    if not isinstance(inside, Polygon) or inside.is_empty:
        return None
    left, top, right, bottom = inside.bounds
    return left, top, right, bottom
