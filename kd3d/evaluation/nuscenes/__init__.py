"""nuScenes detection metrics in memory, equal to the devkit's to the last bit."""

from kd3d.evaluation.nuscenes.boxes import Boxes, GroundTruth
from kd3d.evaluation.nuscenes.cache import load_ground_truth
from kd3d.evaluation.nuscenes.evaluate import evaluate
from kd3d.evaluation.nuscenes.protocol import ATTRIBUTES, CLASSES, CVPR_2019, Protocol, protocol_of
from kd3d.evaluation.nuscenes.result import NuScenesResult
from kd3d.evaluation.nuscenes.result_table import result_table
from kd3d.evaluation.nuscenes.results_reading import Results, read_results
from kd3d.evaluation.nuscenes.results_writing import write_results

__all__ = [
    "ATTRIBUTES",
    "CLASSES",
    "CVPR_2019",
    "Boxes",
    "GroundTruth",
    "NuScenesResult",
    "Protocol",
    "Results",
    "evaluate",
    "load_ground_truth",
    "protocol_of",
    "read_results",
    "result_table",
    "write_results",
]
