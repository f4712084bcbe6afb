"""What nuScenes' detection benchmark measures: classes, ranges and thresholds.

The numbers are those of the devkit's ``detection_cvpr_2019``; a test compares them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from kd3d.errors import UserError

CLASSES = (
    "car",
    "truck",
    "bus",
    "trailer",
    "construction_vehicle",
    "pedestrian",
    "motorcycle",
    "bicycle",
    "traffic_cone",
    "barrier",
)
ATTRIBUTES = (
    "pedestrian.moving",
    "pedestrian.sitting_lying_down",
    "pedestrian.standing",
    "cycle.with_rider",
    "cycle.without_rider",
    "vehicle.moving",
    "vehicle.parked",
    "vehicle.stopped",
)
NO_ATTRIBUTE = -1  # in arrays that otherwise hold indices into ATTRIBUTES

ERRORS = ("trans_err", "scale_err", "orient_err", "vel_err", "attr_err")
# As leaderboards abbreviate the mean errors; one class has ATE, the mean over classes mATE.
ERROR_NAMES = MappingProxyType(
    {
        "trans_err": "ATE",
        "scale_err": "ASE",
        "orient_err": "AOE",
        "vel_err": "AVE",
        "attr_err": "AAE",
    }
)
# A cone looks alike from all sides; neither it nor a barrier moves or has attributes.
UNDEFINED_ERRORS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {"traffic_cone": ("attr_err", "vel_err", "orient_err"), "barrier": ("attr_err", "vel_err")}
)
HALF_TURN_CLASSES = ("barrier",)  # front and back look alike
CYCLES = ("bicycle", "motorcycle")  # ignored inside a bicycle rack

CLASS_OF_CATEGORY: Mapping[str, str] = MappingProxyType(
    {
        "movable_object.barrier": "barrier",
        "vehicle.bicycle": "bicycle",
        "vehicle.bus.bendy": "bus",
        "vehicle.bus.rigid": "bus",
        "vehicle.car": "car",
        "vehicle.construction": "construction_vehicle",
        "vehicle.motorcycle": "motorcycle",
        "human.pedestrian.adult": "pedestrian",
        "human.pedestrian.child": "pedestrian",
        "human.pedestrian.construction_worker": "pedestrian",
        "human.pedestrian.police_officer": "pedestrian",
        "movable_object.trafficcone": "traffic_cone",
        "vehicle.trailer": "trailer",
        "vehicle.truck": "truck",
    }
)
RACK_CATEGORY = "static_object.bicycle_rack"


@dataclass(frozen=True)
class Protocol:
    """The settings of one benchmark.

    Attributes:
        name: as the devkit calls its configuration.
        range_m: class -> distance from the ego vehicle within which a box counts. Its order is
            the order of the classes in all answers.
        distances_m: largest distances between centres for a match; AP is their mean.
        error_distance_m: the one of them at which the errors of true positives are measured.
        min_recall: recalls up to this one are left out, in [0, 1].
        min_precision: counts as zero, in [0, 1).
        max_boxes: a frame may have.
        map_weight: of mAP in NDS, where each of the five errors has weight 1.
    """

    name: str
    range_m: Mapping[str, float]
    distances_m: tuple[float, ...]
    error_distance_m: float
    min_recall: float
    min_precision: float
    max_boxes: int
    map_weight: int


CVPR_2019 = Protocol(
    name="detection_cvpr_2019",
    range_m=MappingProxyType(
        dict(zip(CLASSES, (50, 50, 50, 50, 50, 40, 40, 40, 30, 30), strict=True))
    ),
    distances_m=(0.5, 1.0, 2.0, 4.0),
    error_distance_m=2.0,
    min_recall=0.1,
    min_precision=0.1,
    max_boxes=500,
    map_weight=5,
)
_PROTOCOLS = {protocol.name: protocol for protocol in (CVPR_2019,)}


def protocol_of(name: str) -> Protocol:
    """The protocol of that name.

    Raises:
        UserError: if there is none.
    """
    if name not in _PROTOCOLS:
        raise UserError(f"nuScenes protocol: expected one of {sorted(_PROTOCOLS)}, got {name!r}")
    return _PROTOCOLS[name]
