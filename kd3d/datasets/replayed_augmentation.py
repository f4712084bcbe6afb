"""Random augmentation from a fixed number of variants a frame, so that it comes again."""

import json
import random
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from mmengine.registry import TRANSFORMS as ALL_TRANSFORMS

from kd3d.configs import type_name
from kd3d.datasets.frame_content import (
    content_digest,
    file_state,
    may_read_labels,
    sweeps_digest,
)
from kd3d.errors import UserError
from kd3d.registry import TRANSFORMS

_FLIPS = {"RandomFlip", "RandomFlip3D"}
# What they note, and what is read of it: of points where there are any.
_NOTED = ({"pcd_horizontal_flip", "pcd_vertical_flip"}, {"flip", "flip_direction"})
# They remember earlier frames, or read other ones, so a seed does not bring back what they did.
_STATEFUL = {"ObjectSample", "CachedMosaic", "CachedMixUp", "Mosaic", "MixUp", "CopyPaste"}


@TRANSFORMS.register_module()
class ReplayedAugmentation:
    """Runs transforms under a seed made of the frame and a variant, drawn anew at each call.

    A frame is seen in ``variants`` forms over a training and no more; each is bit for bit the same
    whenever it comes, in whatever process. Generators around it go on as if one number had been
    drawn. The packed data sample says which form it is (``metainfo["replay_key"]``), which is
    what a teacher's cache is keyed by: it holds the size and the time of the frame's file, too, so
    that a file replaced under the same name is another frame; and what else enters and may decide
    the form (:func:`kd3d.datasets.frame_content.content_digest`): labels count only where a
    transform may read them, so the labelled and the unlabelled copy of a frame are one otherwise.
    The seed holds none of it: a form is the same on every machine. Earlier turns of a LiDAR are
    told apart in ``metainfo["replay_sweeps"]``, for pipelines that load them.

    Args:
        transforms: from the first random one up to and with ``PackDetInputs`` or
            ``Pack3DDetInputs``.
        variants: forms of each frame, at least 1.
        free_flips: leave flips among the transforms out of the replay: each call draws them anew,
            and the data sample says how, whatever ``meta_keys`` it is packed with.

    Raises:
        UserError: no variants, a transform that cannot be replayed, or a result that is not packed.
    """

    def __init__(
        self, transforms: Sequence[Mapping[str, Any]], variants: int, *, free_flips: bool = False
    ) -> None:
        if variants < 1:
            raise UserError(f"ReplayedAugmentation: variants is {variants}, expected 1 or more")
        kinds = [type_name(step) for step in transforms]
        stateful = sorted(_STATEFUL & set(kinds))
        if stateful:
            raise UserError(
                f"ReplayedAugmentation: {', '.join(stateful)} depends on other frames and cannot "
                "be replayed; leave it out"
            )
        self.variants, self.free_flips = variants, free_flips
        self.digest = (
            f"{zlib.crc32(json.dumps(list(transforms), sort_keys=True, default=str).encode()):08x}"
        )
        self.transforms = [ALL_TRANSFORMS.build(dict(step)) for step in transforms]
        self._free = [free_flips and kind in _FLIPS for kind in kinds]
        self._may_read_labels = may_read_labels(transforms)

    def __call__(self, results: dict[str, Any]) -> dict[str, Any] | None:
        """Draws a variant and runs the transforms; None where one of them drops the frame."""
        name = frame_name(results)
        key = f"{name}|{np.random.randint(self.variants)}|{self.digest}"
        # now, since transforms change boxes and matrices in place
        content = content_digest(results, labels=self._may_read_labels)
        state = f"{file_state(name)}|{content}" if content else file_state(name)
        sweeps = sweeps_digest(results)
        value: Any = results
        flips: dict[str, Any] = {}  # Any: flags, and a direction
        seed = zlib.crc32(key.encode())
        for place, (transform, free) in enumerate(zip(self.transforms, self._free, strict=True)):
            if free:
                value = transform(value)
                flips = _noted(value or {})
            else:
                with seeded(seed + place):
                    value = transform(value)
            if value is None:
                return None
        if not isinstance(value, dict) or "data_samples" not in value:
            raise UserError(
                "ReplayedAugmentation: the last of its transforms has to be PackDetInputs or "
                f"Pack3DDetInputs, got {type(self.transforms[-1]).__name__}; move it inside"
            )
        sample = value["data_samples"]
        if flips and not flips.keys() <= set(sample.metainfo_keys()):
            state += "|flips"  # without them, flipped and straight frames were cached as one
        sample.set_metainfo({"replay_key": f"{key}|{state}", "replay_sweeps": sweeps, **flips})
        return value


def _noted(results: Mapping[str, Any]) -> dict[str, Any]:
    """How a frame was flipped; empty where it was not asked."""
    found = ({name: results[name] for name in names if name in results} for names in _NOTED)
    return next(filter(None, found), {})


def frame_name(results: Mapping[str, Any]) -> str:
    """What tells a frame from all others, whatever data set or part of one it is read from.

    Raises:
        UserError: the results hold no file name.
    """
    points = results.get("lidar_points") or {}
    found = results.get("lidar_path") or points.get("lidar_path") or results.get("img_path")
    cameras = list((results.get("images") or {}).values())
    if not found and len(cameras) == 1:  # where mmdet3d takes each camera's image for a frame
        found = cameras[0].get("img_path")
    if not found:
        raise UserError(
            f"ReplayedAugmentation: a frame without lidar_path and img_path (it has "
            f"{sorted(results)}); put it into the pipeline of a data set of mmdet or mmdet3d"
        )
    return str(found)


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Python's, NumPy's and torch's CPU generators seeded inside, and as before outside.

    ``torch.manual_seed`` would seed the GPUs' generators, too, and leave them so.
    """
    state = random.getstate(), np.random.get_state(), torch.get_rng_state()
    try:
        random.seed(seed)
        np.random.seed(seed % 2**32)
        torch.default_generator.manual_seed(seed)
        yield
    finally:
        random.setstate(state[0])
        np.random.set_state(state[1])
        torch.set_rng_state(state[2])
