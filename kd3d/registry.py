"""The registries kd3d owns, children of MMEngine's (scope ``kd3d``).

Losses, masks and connectors are ours alone and are found without a prefix. Models and task utils
(box coders) join mmdet's configs as ``type="kd3d.EfficientNetLite"``. Hooks, datasets, transforms
and metrics are registered with MMEngine's root registries, so that a config names them without a
prefix, as stock ones.
"""

from mmengine.registry import DATASETS, HOOKS, METRICS, TRANSFORMS, Registry
from mmengine.registry import MODELS as ROOT_MODELS
from mmengine.registry import TASK_UTILS as ROOT_TASK_UTILS

LOSSES = Registry("distillation loss", scope="kd3d", locations=["kd3d.losses"])
MASKS = Registry("mask", scope="kd3d", locations=["kd3d.losses"])
CONNECTORS = Registry("connector", scope="kd3d", locations=["kd3d.connectors"])
MODELS = Registry("model", parent=ROOT_MODELS, scope="kd3d", locations=["kd3d.models"])
TASK_UTILS = Registry("task util", parent=ROOT_TASK_UTILS, scope="kd3d", locations=["kd3d.models"])

__all__ = [
    "CONNECTORS",
    "DATASETS",
    "HOOKS",
    "LOSSES",
    "MASKS",
    "METRICS",
    "MODELS",
    "TASK_UTILS",
    "TRANSFORMS",
]
