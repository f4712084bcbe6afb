"""The knobs of a pillar detector: pillar size, channels, layers, neck and head."""

import math
from collections.abc import Mapping
from typing import Any

from mmengine.config import Config

_PILLAR = (2.0, 1.5, 1.25, 1.0)  # times the config's own side
_WIDTH = (16, 24, 32, 48, 64, 96, 128)
_LAYERS = (0.5, 0.75, 1.0, 1.5, 2.0)
_NECK = (16, 32, 48, 64, 96, 128)
_HEAD = (16, 32, 48, 64)
_MOST_PILLAR_CHANNELS = 64  # of the pillar encoder, whose output is scattered to the whole canvas


def pillar_start(config: Config) -> dict[str, float]:
    """What the config is."""
    model = config.model
    start = {
        "coarseness": -1.0,
        "width": _part(model, "backbone").out_channels[0],
        "layers": 1.0,
        "neck": _part(model, "neck").out_channels[0],
    }
    head = _part(model, "bbox_head")
    if "share_conv_channel" in head:
        start["head"] = head.share_conv_channel
    return start


def pillar_knobs(config: Config) -> dict[str, tuple[float, ...]]:
    """Values of each; ``coarseness`` is minus the factor of the pillar's side, so that it rises."""
    knobs: dict[str, tuple[float, ...]] = {
        "coarseness": tuple(-factor for factor in _PILLAR if _fits(config, factor)),
        "width": _WIDTH,
        "layers": _LAYERS,
        "neck": _NECK,
    }
    if "head" in pillar_start(config):
        knobs["head"] = _HEAD
    return knobs


def apply_pillars(config: Config, choice: Mapping[str, float]) -> None:
    """Changes a config in place to what a choice says."""
    model, start = config.model, pillar_start(config)
    backbone, neck, head = (_part(model, name) for name in ("backbone", "neck", "bbox_head"))
    ratios = [channels / backbone.out_channels[0] for channels in backbone.out_channels]
    if choice["width"] != start["width"]:
        widths = [max(round(choice["width"] * ratio / 8), 1) * 8 for ratio in ratios]
        pillar = min(widths[0], _MOST_PILLAR_CHANNELS)
        encoder, scatter = (_part(model, name) for name in ("voxel_encoder", "middle_encoder"))
        encoder.feat_channels = [*encoder.feat_channels[:-1], pillar]
        scatter.in_channels = backbone.in_channels = pillar
        backbone.out_channels = neck.in_channels = widths
    backbone.layer_nums = [max(round(n * choice["layers"]), 1) for n in backbone.layer_nums]
    if choice["neck"] != start["neck"]:
        neck.out_channels = [int(choice["neck"])] * len(neck.out_channels)
        head.in_channels = sum(neck.out_channels)
        if "feat_channels" in head:
            head.feat_channels = head.in_channels
    if "head" in choice and choice["head"] != start["head"]:
        head.share_conv_channel = int(choice["head"])
        head.setdefault("separate_head", {})["head_conv"] = int(choice["head"])
    if choice["coarseness"] != -1:
        _coarsen(config, -choice["coarseness"])


def _coarsen(config: Config, factor: float) -> None:
    side_m = _layer(config)["voxel_size"][:2]
    cells = _cells(config, factor)
    _replace(config.model, [value * factor for value in side_m], side_m, cells)


def _replace(
    node: Any,  # Any: nested config values
    new_side_m: list[float],
    old_side_m: list[float],
    cells: tuple[int, int],
) -> None:
    if isinstance(node, list | tuple):
        for item in node:
            _replace(item, new_side_m, old_side_m, cells)
    if not isinstance(node, dict):
        return
    for key, value in node.items():
        if key == "voxel_size" and list(value[:2]) == list(old_side_m):
            node[key] = [*(round(side, 6) for side in new_side_m), *value[2:]]
        elif key == "output_shape":  # rows, columns
            node[key] = [cells[1], cells[0], *value[2:]]
        elif key == "grid_size":  # x, y, z
            node[key] = [cells[0], cells[1], *value[2:]]
        else:
            _replace(value, new_side_m, old_side_m, cells)


def _fits(config: Config, factor: float) -> bool:
    """Whether the range holds whole pillars that the backbone can halve as often as it does."""
    strides = math.prod(_part(config.model, "backbone").layer_strides)
    extent = _layer(config)["point_cloud_range"]
    for axis in (0, 1):
        span = extent[3 + axis] - extent[axis]
        cells = span / (_layer(config)["voxel_size"][axis] * factor)
        if abs(cells - round(cells)) > 1e-4 or round(cells) % strides:
            return False
    return True


def _cells(config: Config, factor: float) -> tuple[int, int]:
    extent, side = (_layer(config)[key] for key in ("point_cloud_range", "voxel_size"))
    x, y = (round((extent[3 + axis] - extent[axis]) / (side[axis] * factor)) for axis in (0, 1))
    return x, y


def _layer(config: Config) -> Any:  # Any: a config dict
    return config.model.data_preprocessor.voxel_layer


def _part(model: Any, name: str) -> Any:  # Any: config dicts
    return model.get(f"pts_{name}") or model[name]
