"""A teacher whose features are read from disk once they have been computed."""

import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from kd3d.distill.cache_entry import DTYPES, Skeleton, filled, flattened, from_bytes, to_bytes
from kd3d.distill.cache_store import FeatureStore
from kd3d.distill.flips import Flip, flip_of, flipped
from kd3d.distill.recorder import Tap
from kd3d.distill.teacher import Teacher
from kd3d.distill.teacher_input import Inputs
from kd3d.errors import UserError

CACHE_FILL = "cache_fill_seconds"  # of each iteration in MMEngine's message hub, see DistillHook


@dataclass(frozen=True)
class CacheSettings:
    """What ``teacher=dict(..., cache=dict(...))`` gives.

    Attributes:
        dir: folder; teachers, taps and pipelines get folders of their own below it.
        dtype: that floats are rounded to, "float16" or "bfloat16". For heads the first: where
            rounding makes neighbours of a heatmap equal, HeatmapResponse sees a peak more.
        max_gb: a run is refused whose entries are expected to take more, and nothing is written
            beyond. It counts the folder of one teacher; those of earlier teachers, and entries of
            frames that were replaced since, stay until they are deleted by hand, at any time no
            run uses them.
        reuse_flips: whether a flipped frame reads the flipped features of the frame as it is.
    """

    dir: str
    dtype: str = "float16"
    max_gb: float = 10.0
    reuse_flips: bool = False

    def __post_init__(self) -> None:
        if self.dtype not in DTYPES:
            raise UserError(f"cache: dtype is {self.dtype!r}, expected one of {sorted(DTYPES)}")
        if not self.max_gb > 0:
            raise UserError(f"cache: max_gb is {self.max_gb}, expected a size above 0")

    @classmethod
    def of(cls, config: Mapping[str, Any], *, where: str) -> "CacheSettings":
        """Reads a config's dict.

        Raises:
            UserError: it is no dict, a key is unknown or ``dir`` is missing.
        """
        form = f"{where}: teacher: expected cache=dict(dir=..., dtype=, max_gb=, reuse_flips=)"
        if not isinstance(config, Mapping):
            raise UserError(f"{form}, got {config!r}")
        try:
            return cls(**{key: value for key, value in config.items() if key != "_scope_"})
        except TypeError as error:
            raise UserError(f"{form}, got {dict(config)} ({error})") from None


class CachedTeacher:
    """Stands in for a Teacher; only frames that are not on disk are run through it.

    What it returns is what the disk holds, also right after computing it, and every frame is
    computed by itself: kernels for a batch of two round otherwise than for one. So a run does not
    depend on what was in the cache before, nor on who else fills it.

    Args:
        teacher: computes what is missing.
        store: of this teacher, its taps and this pipeline; see :func:`fingerprint`.
        settings: of the cache.
        taps: what is read from the teacher.
        sweeps: whether frames are joined with earlier turns of the LiDAR, which count then.
    """

    def __init__(
        self,
        teacher: Teacher,
        store: FeatureStore,
        settings: CacheSettings,
        taps: Sequence[Tap],
        *,
        sweeps: bool = False,
    ) -> None:
        self.teacher, self.store, self.settings = teacher, store, settings
        self.sweeps = sweeps
        self.taps = tuple(dict.fromkeys(taps))
        self.hits = self.misses = self.not_kept = 0
        self.fill_s = 0.0  # spent on missing frames: the teacher's forward and writing
        self._told_s = 0.0
        self._skeleton: Skeleton = None

    @property
    def model(self) -> nn.Module:
        """The teacher's detector."""
        return self.teacher.model

    def newly_filled_s(self) -> float:
        """Seconds spent on missing frames since this was last asked."""
        told_s, self._told_s = self._told_s, self.fill_s
        return self.fill_s - told_s

    def summary(self) -> str:
        """What the cache did, in one line."""
        text = f"teacher cache: {self.hits} frames read, {self.misses} computed"
        if self.misses:
            text += f" in {self.fill_s:.0f} s"
        if self.store.corrupt:
            text += f", {self.store.corrupt} of them because their entries were corrupt"
        if self.not_kept:
            text += f", {self.not_kept} not kept for want of room (max_gb)"
        return text

    def features(self, inputs: Inputs, samples: Sequence[Any]) -> dict[Tap, Any]:
        """Reads all taps, as :meth:`Teacher.features` does.

        Raises:
            UserError: a data sample was not made by ReplayedAugmentation, or a tap reads something
                that does not come frame by frame.
        """
        flips = [flip_of(sample, inputs) for sample in samples]
        keys = [
            self._key(sample, inputs, flip) for sample, flip in zip(samples, flips, strict=True)
        ]
        entries = self._read(keys)
        missing = [place for place, entry in enumerate(entries) if entry is None]
        if missing:
            self.store.refresh()
            entries = self._read(keys)
            missing = [place for place, entry in enumerate(entries) if entry is None]
        self.hits += len(keys) - len(missing)
        if missing:
            self.misses += len(missing)
            started_s = time.monotonic()
            for place in missing:  # its entry is on the host: the GPU has been waited for
                entries[place] = self._computed(inputs, samples, place, keys[place], flips[place])
            self.fill_s += time.monotonic() - started_s
        return self._joined(entries, flips, _device(inputs))

    def _key(self, sample: Any, inputs: Inputs, flip: Flip) -> str:
        base = sample.metainfo.get("replay_key")
        if base is None:
            raise UserError(
                "teacher cache: a data sample has no replay_key; put the random transforms and "
                "the packing of every train pipeline into ReplayedAugmentation(transforms=[...], "
                "variants=...)"
            )
        if self.sweeps:
            base = f"{base}|{sample.metainfo.get('replay_sweeps', '')}"
        base = f"{base}|{padded_size(inputs)}{_mixed_precision(_device(inputs))}"
        return base if self._reuses(flip) else f"{base}|{flip}"

    def _reuses(self, flip: Flip) -> bool:
        return self.settings.reuse_flips and flip.exact

    def _read(self, keys: Sequence[str]) -> list[list[Tensor] | None]:
        if self._skeleton is None:  # another process may have written it, before any entry
            self._skeleton = self.store.skeleton()
        if self._skeleton is None:
            return [None] * len(keys)  # nobody knows the nesting of what lies there
        dtype = DTYPES[self.settings.dtype]
        found = (self.store.read(key) for key in keys)
        return [None if entry is None else from_bytes(*entry, dtype) for entry in found]

    def _computed(
        self, inputs: Inputs, samples: Sequence[Any], place: int, key: str, flip: Flip
    ) -> list[Tensor]:
        """Runs the teacher on a missing frame; writes it, and gives what was written."""
        dtype = DTYPES[self.settings.dtype]
        frame = frames_of(inputs, [place], len(samples))
        values = self.teacher.features(frame, [samples[place]])
        tensors: list[Tensor] = []
        skeleton = [flattened(values[tap], tensors) for tap in self.taps]
        expect_by_frame(tensors, 1)
        if self._skeleton is None:
            self._skeleton = skeleton
            self.store.set_skeleton(skeleton)
        own = [tensor[0] for tensor in tensors]
        if self._reuses(flip):
            own = [flipped(tensor, flip) for tensor in own]  # as it was unflipped
        data, layout = to_bytes(own, dtype)
        if self.store.size_bytes + len(data) <= self.settings.max_gb * 1e9:
            self.store.write(key, data, layout)
        else:
            self.not_kept += 1
        return from_bytes(data, layout, dtype)

    def _joined(
        self, entries: Sequence[list[Tensor] | None], flips: Sequence[Flip], device: torch.device
    ) -> dict[Tap, Any]:
        frames = []
        for entry, flip in zip(entries, flips, strict=True):
            assert entry is not None, "every missing frame has been computed"
            frames.append([flipped(t, flip) for t in entry] if self._reuses(flip) else entry)
        tensors = [torch.stack(parts).to(device) for parts in zip(*frames, strict=True)]
        values = filled(self._skeleton, tensors)
        return dict(zip(self.taps, values, strict=True))


def fingerprint(
    model: nn.Module, model_config: Any, taps: Sequence[Tap], settings: CacheSettings, inputs: Any
) -> str:
    """What decides a teacher's features of a frame, but for the frame itself.

    Args:
        model: the teacher; its weights, buffers and which modules answer as in training count.
        model_config: with its preprocessing and layers.
        taps: what is read.
        settings: the rounding counts.
        inputs: how frames are made before ReplayedAugmentation, and the student's preprocessing.
    """
    digest = hashlib.sha256()
    for name, value in model.state_dict().items():
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    described = [model_config, [tap.text for tap in taps], settings.dtype, inputs]
    described += [name for name, module in model.named_modules() if module.training]
    digest.update(json.dumps(described, sort_keys=True, default=str).encode())
    return digest.hexdigest()[:16]


def open_store(settings: CacheSettings, name: str) -> FeatureStore:
    """The folder of one teacher, its taps and a pipeline.

    Raises:
        UserError: the folder cannot be written.
    """
    try:
        return FeatureStore(Path(settings.dir).expanduser() / name)
    except OSError as error:
        raise UserError(
            f"cache: {settings.dir} cannot be used ({error}); give another dir"
        ) from None


def expect_by_frame(tensors: Sequence[Tensor], frames: int) -> None:
    """Refuses what cannot be kept frame by frame.

    Raises:
        UserError: a tensor's first axis is not that of the frames.
    """
    for tensor in tensors:
        if tensor.ndim == 0 or len(tensor) != frames:
            raise UserError(
                f"teacher cache: a tap reads a tensor {tuple(tensor.shape)} for {frames} frames, "
                "which does not come frame by frame; tap maps or heads, or leave cache out"
            )


def padded_size(inputs: Inputs) -> tuple[int, ...]:
    """Rows and columns that a batch's images are padded to; none where there are points alone."""
    images = inputs if isinstance(inputs, Tensor) else inputs.get("imgs")
    return () if images is None else tuple(images.shape[-2:])


def frames_of(inputs: Inputs, places: Sequence[int], count: int) -> Inputs:
    """Some frames of a network input; voxels are left out, since they are made of the points."""
    if len(places) == count:
        return inputs
    if isinstance(inputs, Tensor):
        return inputs[list(places)]
    chosen: dict[str, Any] = {}
    if "points" in inputs:
        chosen["points"] = [inputs["points"][place] for place in places]
    if "imgs" in inputs:
        chosen["imgs"] = inputs["imgs"][list(places)]
    return chosen


def _mixed_precision(device: torch.device) -> str:
    """Of a forward made now: preflight's has none, those of a training with ``--amp`` do."""
    enabled = torch.is_autocast_enabled(device.type)
    return f"|{torch.get_autocast_dtype(device.type)}" if enabled else ""


def _device(inputs: Inputs) -> torch.device:
    first = inputs if isinstance(inputs, Tensor) else inputs.get("points", inputs.get("imgs"))
    device: torch.device = first[0].device
    return device
