"""Trying a student's config before anything is trained: pairs, connectors, gradients, one batch."""

from pathlib import Path
from typing import Any

import kd3d.datasets.made_up_frames  # (registers it)
import kd3d.distill  # noqa: F401  (registers the hook)
from kd3d.checkpoints import use_safe_loading
from kd3d.configs import distill_hooks, load_config
from kd3d.distill.inspection import Inspection, inspect_pairs
from kd3d.distill.preflight import check_custom_hooks
from kd3d.distill.teacher import drop_pretrained
from kd3d.export.preprocessing import input_channels


def check_student(path: Path) -> list[Inspection]:
    """The preflight of a config's pairs, on made-up frames and with a teacher of random weights.

    What depends on weights and data (values of the losses, shares of the gradients) means nothing
    here; that shapes fit, connectors can be chosen and gradients reach the student does.

    Args:
        path: of the config.

    Returns:
        One a DistillHook; none for a config without.

    Raises:
        UserError: whatever the preflight finds.
    """
    use_safe_loading()
    config = load_config(path)
    check_custom_hooks(config)
    hooks = distill_hooks(config)
    if not hooks:
        return []
    drop_pretrained(config.model)
    config.load_from = None
    for hook in hooks:
        hook.teacher.checkpoint = "random"
        hook.teacher.pop("cache", None)
    config.train_dataloader = {
        "batch_size": 2,
        "num_workers": 0,
        "sampler": {"type": "InfiniteSampler", "shuffle": False},
        "dataset": {
            "type": "MadeUpFrames",
            "channels": input_channels(config),
            **_frames(config.model),
        },
    }
    config.train_cfg = {"type": "IterBasedTrainLoop", "max_iters": 1}
    config.log_level = "ERROR"
    return list(inspect_pairs(config).values())


def _frames(model: Any) -> dict[str, Any]:  # Any: a config dict
    """Arguments of ``MadeUpFrames`` for a detector."""
    head = model.get("pts_bbox_head") or model.bbox_head
    tasks = head.get("tasks")
    classes = sum(task["num_class"] for task in tasks) if tasks else int(head.num_classes)
    layer = (model.get("data_preprocessor") or {}).get("voxel_layer")
    if layer is None:
        return {"classes": classes}
    encoder = model.get("pts_voxel_encoder") or model.voxel_encoder
    return {
        "classes": classes,
        "extent": [float(value) for value in layer.point_cloud_range],
        "point_features": int(encoder.get("in_channels", 4)),
        "velocity": head.get("bbox_coder", {}).get("code_size", 7) == 9,
    }
