"""What an exported network expects to be done to an image, and doing it."""

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch.nn.functional as F
from mmengine.config import Config
from numpy.typing import NDArray
from torch import Tensor, nn

from kd3d.configs import size_pair, type_name
from kd3d.errors import UserError

Step = Mapping[str, Any]  # Any: a transform's own settings


def pipeline_steps(cfg: Config) -> list[Step]:
    """Transforms of the test pipeline that change pixels or load them; annotations left out."""
    dataset = (cfg.get("test_dataloader") or {}).get("dataset") or {}
    pipeline = dataset.get("pipeline") or cfg.get("test_pipeline")
    if not pipeline:
        raise UserError("the config has no test_dataloader.dataset.pipeline to preprocess with")
    return [step for step in pipeline if not type_name(step).endswith("LoadAnnotations")]


def input_size(cfg: Config) -> tuple[int, int]:
    """(H, W) px that the test pipeline makes of an image, rounded up to the pad divisor.

    A pipeline that pads to one size gives that size. One that only keeps the aspect ratio makes
    many sizes; then it is the largest landscape one, which holds every landscape image.

    Raises:
        UserError: if the pipeline neither resizes to a scale nor pads to a size, or to none that
            is finite.
    """
    height, width = image_size(cfg)
    divisor = pad_divisor(cfg)
    return math.ceil(height / divisor) * divisor, math.ceil(width / divisor) * divisor


def image_size(cfg: Config) -> tuple[int, int]:
    """(H, W) px of ``input_size`` before it is rounded up: what MMDetection takes as the image.

    Raises:
        UserError: if the pipeline neither resizes to a scale nor pads to a size, or to none that
            is finite.
    """
    height = width = 0
    where = f"config {cfg.filename}: test pipeline"
    for step in pipeline_steps(cfg):
        kind = type_name(step)
        if kind in ("Resize", "FixScaleResize") and step.get("scale"):
            # (W, H); with keep_ratio only (long, short) counts
            scale = size_pair(step["scale"], where=f"{where}: {kind}(scale=...)")
            width, height = (max(scale), min(scale)) if step.get("keep_ratio") else scale
        elif kind == "Pad" and step.get("size"):
            width, height = size_pair(step["size"], where=f"{where}: Pad(size=...)")
        elif kind == "Pad" and step.get("pad_to_square"):
            width = height = max(width, height)
    if not width:
        raise UserError(
            "the test pipeline has no Resize with a scale and no Pad with a size; "
            "give the size of the network's input: --input-size H W"
        )
    return height, width


def pad_divisor(cfg: Config) -> int:
    """H and W of the network's input are multiples of this."""
    return int((cfg.model.get("data_preprocessor") or {}).get("pad_size_divisor", 1))


def input_channels(cfg: Config) -> int:
    """C of the network's input (B, C, H, W): the backbone's ``in_channels``, or 3."""
    return int((cfg.model.get("backbone") or {}).get("in_channels", 3))


def describe_preprocessing(cfg: Config) -> dict[str, Any]:
    """For export.json: everything between a uint8 image and the network's input."""
    settings = cfg.model.get("data_preprocessor") or {}
    channels = input_channels(cfg)
    loaded = {1: "grey", 3: "BGR"}.get(channels, f"{channels} channels")
    mean, std = settings.get("mean"), settings.get("std")
    return {
        "mean": None if mean is None else [float(value) for value in mean],
        "std": None if std is None else [float(value) for value in std],
        "bgr_to_rgb": bool(settings.get("bgr_to_rgb", False)),
        "pad_value": float(settings.get("pad_value", 0)),
        "pad_size_divisor": pad_divisor(cfg),
        "pipeline": [dict(step) for step in _plain(pipeline_steps(cfg))],
        "steps": (
            f"1. Load the image as {loaded}, 0 to 255. 2. Resize and Pad as 'pipeline' says. "
            "3. bgr_to_rgb: reverse the channels. 4. (image - mean) / std per channel, in the "
            "order after step 3; null: neither. 5. Pad right and below with pad_value to the "
            f"input's size. Layout (B, {channels}, H, W), float32."
        ),
    }


def image_input(
    cfg: Config, detector: nn.Module, path: str | Path, size: tuple[int, int]
) -> NDArray[np.float32]:
    """(1, C, H, W) network input from an image file as in the test loop, cut or padded to size.

    Cut, because comparing two programs needs real pixels but not the whole scene.

    Raises:
        UserError: if there is no such image, or it cannot be read.
    """
    from mmcv.transforms import Compose
    from mmengine.dataset import pseudo_collate
    from mmengine.registry import init_default_scope

    if not Path(path).is_file():
        raise UserError(f"no image at {path}")
    if not Path(path).stat().st_size:
        raise UserError(f"{path}: the file is empty; give JPEG or PNG")
    init_default_scope(cfg.get("default_scope", "mmdet"))
    pipeline = Compose([dict(step) for step in pipeline_steps(cfg)])
    try:
        data = pipeline({"img_path": str(path), "img_id": 0})
    except AssertionError as error:
        if "failed to load image" not in str(error):  # MMCV's words
            raise
        raise UserError(
            f"{path}: the test pipeline cannot read it as an image; give JPEG or PNG"
        ) from None
    processor: Any = detector.data_preprocessor
    images = processor(pseudo_collate([data]), False)["inputs"].float()
    images = images[..., : size[0], : size[1]]
    padded = pad_to_size(images, size, float(describe_preprocessing(cfg)["pad_value"]))
    array: NDArray[np.float32] = padded.cpu().numpy()
    return array


def pad_to_size(images: Tensor, size: tuple[int, int], value: float) -> Tensor:
    """Pads (B, C, H, W) right and below.

    Raises:
        UserError: if the images are larger than ``size`` (H, W).
    """
    height, width = images.shape[-2:]
    if height > size[0] or width > size[1]:
        raise UserError(
            f"the test pipeline makes an input of {height}x{width} (H x W), the exported file "
            f"takes {size[0]}x{size[1]}; export again with an --input-size that holds all images"
        )
    return F.pad(images, (0, size[1] - width, 0, size[0] - height), value=value)


def _plain(steps: list[Step]) -> Iterator[dict[str, Any]]:
    """Without MMEngine's types, and without what only concerns files and labels."""
    for step in steps:
        kind = type_name(step)
        if kind not in ("LoadImageFromFile", "PackDetInputs"):
            yield {**{key: jsonable(value) for key, value in step.items()}, "type": kind}


def jsonable(value: Any) -> Any:
    """A config's value in JSON's types; what has none there becomes text."""
    if isinstance(value, Mapping):
        return {str(key): jsonable(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [jsonable(entry) for entry in value]
    if isinstance(value, type):
        return value.__name__
    return value if isinstance(value, (str, int, float, bool, type(None))) else str(value)
