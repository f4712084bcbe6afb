"""nuScenes detection metrics in memory, equal to the devkit's to the last bit."""

from kd3d.evaluation.nuscenes.boxes import Boxes, GroundTruth
from kd3d.evaluation.nuscenes.evaluate import evaluate
from kd3d.evaluation.nuscenes.protocol import ATTRIBUTES, CLASSES, CVPR_2019, Protocol, protocol_of
from kd3d.evaluation.nuscenes.result import NuScenesResult

__all__ = [
    "ATTRIBUTES",
    "CLASSES",
    "CVPR_2019",
    "Boxes",
    "GroundTruth",
    "NuScenesResult",
    "Protocol",
    "evaluate",
    "protocol_of",
]
