"""nuScenes' names: the 23 categories, the attributes, and how large each kind of object is."""

from dataclasses import dataclass

import numpy as np

CATEGORIES = (
    "human.pedestrian.adult",
    "human.pedestrian.child",
    "human.pedestrian.wheelchair",
    "human.pedestrian.stroller",
    "human.pedestrian.personal_mobility",
    "human.pedestrian.police_officer",
    "human.pedestrian.construction_worker",
    "animal",
    "vehicle.car",
    "vehicle.motorcycle",
    "vehicle.bicycle",
    "vehicle.bus.bendy",
    "vehicle.bus.rigid",
    "vehicle.truck",
    "vehicle.construction",
    "vehicle.emergency.ambulance",
    "vehicle.emergency.police",
    "vehicle.trailer",
    "movable_object.barrier",
    "movable_object.trafficcone",
    "movable_object.pushable_pullable",
    "movable_object.debris",
    "static_object.bicycle_rack",
)
ATTRIBUTES = (
    "vehicle.moving",
    "vehicle.stopped",
    "vehicle.parked",
    "cycle.with_rider",
    "cycle.without_rider",
    "pedestrian.sitting_lying_down",
    "pedestrian.standing",
    "pedestrian.moving",
)
CLASSES = {
    "vehicle.car": "car",
    "vehicle.truck": "truck",
    "vehicle.trailer": "trailer",
    "vehicle.bus.bendy": "bus",
    "vehicle.bus.rigid": "bus",
    "vehicle.construction": "construction_vehicle",
    "vehicle.bicycle": "bicycle",
    "vehicle.motorcycle": "motorcycle",
    "human.pedestrian.adult": "pedestrian",
    "human.pedestrian.child": "pedestrian",
    "human.pedestrian.police_officer": "pedestrian",
    "human.pedestrian.construction_worker": "pedestrian",
    "movable_object.trafficcone": "traffic_cone",
    "movable_object.barrier": "barrier",
}
"""The detection class of a category; categories without one are not scored."""

MOVING_MPS = 0.2  # slower is "stopped" or "standing"


@dataclass(frozen=True)
class Size:
    """Mean and standard deviation of length, width and height in metres."""

    mean_m: tuple[float, float, float]
    deviation_m: tuple[float, float, float]

    def draw(self, rng: np.random.Generator) -> tuple[float, float, float]:
        """Length, width and height, within two deviations, larger objects larger all round."""
        shared = rng.normal()
        own = rng.normal(size=3)
        z = np.clip(0.6 * shared + 0.8 * own, -2.0, 2.0)
        length, width, height = np.array(self.mean_m) + z * np.array(self.deviation_m)
        return float(length), float(width), float(height)


SIZES = {  # length, width, height, about as in nuScenes' training split
    "vehicle.car": Size((4.62, 1.95, 1.73), (0.40, 0.16, 0.22)),
    "vehicle.truck": Size((6.93, 2.51, 2.84), (1.45, 0.35, 0.60)),
    "vehicle.bus.rigid": Size((11.2, 2.94, 3.47), (1.30, 0.22, 0.35)),
    "vehicle.trailer": Size((12.3, 2.90, 3.87), (2.40, 0.25, 0.45)),
    "vehicle.construction": Size((6.37, 2.85, 3.19), (1.60, 0.55, 0.60)),
    "vehicle.motorcycle": Size((2.11, 0.77, 1.47), (0.18, 0.12, 0.12)),
    "vehicle.bicycle": Size((1.70, 0.60, 1.28), (0.12, 0.10, 0.14)),
    "human.pedestrian.adult": Size((0.73, 0.67, 1.77), (0.13, 0.09, 0.09)),
    "human.pedestrian.child": Size((0.52, 0.50, 1.25), (0.07, 0.06, 0.13)),
    "human.pedestrian.construction_worker": Size((0.76, 0.70, 1.78), (0.12, 0.09, 0.07)),
    "human.pedestrian.police_officer": Size((0.74, 0.69, 1.78), (0.12, 0.08, 0.07)),
    "movable_object.trafficcone": Size((0.41, 0.41, 1.00), (0.07, 0.07, 0.18)),
    "movable_object.barrier": Size((0.50, 2.51, 0.98), (0.08, 0.25, 0.08)),
    "movable_object.debris": Size((0.70, 0.70, 0.40), (0.20, 0.20, 0.12)),
    "movable_object.pushable_pullable": Size((0.67, 0.62, 1.06), (0.08, 0.07, 0.08)),
}


def attribute_of(posture: str, speed_mps: float) -> str | None:
    """The attribute of an object that moves at ``speed_mps``; None for barriers, cones and such.

    Args:
        posture: "traffic" or "walking" (the speed decides), or the attribute itself, or "".
        speed_mps: of its track.
    """
    if posture == "traffic":
        return "vehicle.moving" if speed_mps > MOVING_MPS else "vehicle.stopped"
    if posture == "walking":
        return "pedestrian.moving" if speed_mps > MOVING_MPS else "pedestrian.standing"
    return posture or None
