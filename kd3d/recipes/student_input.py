"""Scaling the input of an image detector wherever its config names the size."""

from collections.abc import Callable
from typing import Any

from mmengine.config import Config

from kd3d.configs import type_name

# The argument of each transform (and batch augmentation) that is a size in pixels.
_SIZES = {
    "Resize": "scale",
    "FixScaleResize": "scale",
    "RandomResize": "scale",
    "RandomChoiceResize": "scales",
    "RandomCrop": "crop_size",
    "Pad": "size",
    "Mosaic": "img_scale",
    "CachedMosaic": "img_scale",
    "MixUp": "img_scale",
    "CachedMixUp": "img_scale",
    "RandomAffine": "border",
    "BatchSyncRandomResize": "random_size_range",
}
_PLACES = ("train_dataloader", "val_dataloader", "test_dataloader", "custom_hooks")
_UNITS = (32, 16)  # px; a size that is a multiple stays one


def scale_input(config: Config, factor: float) -> None:
    """Multiplies every size of the pipelines, in place; ratios of random resizing stay.

    Args:
        config: of an image detector.
        factor: 1 changes nothing.
    """
    if factor == 1:
        return
    for place in _PLACES:
        _scale(config.get(place), factor)
    _scale((config.model.get("data_preprocessor") or {}).get("batch_augments"), factor)


def _scale(node: Any, factor: float) -> None:  # Any: nested config values
    if isinstance(node, list | tuple):
        for item in node:
            _scale(item, factor)
    if not isinstance(node, dict):
        return
    key = _SIZES.get(type_name(node))
    for name, value in node.items():
        if name == key and not _relative(node):
            node[name] = _mapped(value, lambda size: _sized(size, factor))
        else:
            _scale(value, factor)


def _relative(node: Any) -> bool:  # Any: a transform's settings
    return str(node.get("crop_type", "absolute")).startswith("relative")


def _mapped(value: Any, change: Callable[[float], int]) -> Any:  # Any: a size, or lists of them
    if isinstance(value, list | tuple):
        return type(value)(_mapped(item, change) for item in value)
    return value if value is None or isinstance(value, bool) else change(value)


def _sized(size: float, factor: float) -> int:
    for unit in _UNITS:
        if size % unit == 0:
            return round(size * factor / unit) * unit
    return round(size * factor)
