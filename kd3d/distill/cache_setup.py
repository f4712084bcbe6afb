"""What has to hold before a teacher may be cached, and how large its cache becomes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mmengine.config import Config
from torch import Tensor

from kd3d.configs import type_name
from kd3d.datasets.frame_content import kinds_in
from kd3d.distill.cache import (
    CachedTeacher,
    CacheSettings,
    expect_by_frame,
    fingerprint,
    open_store,
    padded_size,
)
from kd3d.distill.cache_entry import DTYPES, flattened
from kd3d.distill.flips import Flip, check_equivariance
from kd3d.distill.point_loading import flat_steps, pipelines
from kd3d.distill.recorder import Tap
from kd3d.distill.teacher import Teacher
from kd3d.errors import UserError

# They give the same for the same frame; anything else may draw numbers.
DETERMINISTIC = {
    *("LoadImageFromFile", "LoadAnnotations", "LoadMultiViewImageFromFiles"),
    *("LoadPointsFromFile", "LoadAnnotations3D", "PointsRangeFilter", "ObjectRangeFilter"),
    *(
        "ObjectNameFilter",
        "FilterAnnotations",
        "Resize",
        "Pad",
        "Normalize",
        "PointSegClassMapping",
    ),
}
_SWEEPS = "LoadPointsFromMultiSweeps"
_ANNOTATIONS = {"LoadAnnotations", "LoadAnnotations3D"}
_AFTER_FLIPS = {
    *("PointsRangeFilter", "ObjectRangeFilter", "ObjectNameFilter", "FilterAnnotations"),
    *("PointShuffle", "Pack3DDetInputs", "PackDetInputs", "RandomFlip", "RandomFlip3D"),
}


@dataclass(frozen=True)
class Replay:
    """How the frames of a training come again.

    Attributes:
        variants: of a frame at most, flips that are drawn freely left out.
        flips: those drawn freely, the straight frame left out.
        before: the steps before ReplayedAugmentation, annotations left out.
        sweeps: whether a frame is joined with earlier turns of the LiDAR.
    """

    variants: int
    flips: tuple[Flip, ...]
    before: list[Mapping[str, Any]]
    sweeps: bool


def cached_teacher(
    teacher: Teacher,
    taps: Sequence[Tap],
    settings: CacheSettings,
    *,
    student: Config,
    model: Any,
    batch: Mapping[str, Any],
    frames: int,
    draws: int,
) -> tuple[CachedTeacher, str]:
    """Checks everything and opens the cache.

    Args:
        teacher: to be cached.
        taps: what is read from it.
        settings: of the cache.
        student: the config that trains.
        model: the teacher's model config.
        batch: one training batch.
        frames: of the training set, however often one is repeated.
        draws: frames that the whole training reads, with repetition.

    Returns:
        The cached teacher, and a line that says how much this training adds to its cache: a bound
        for points, an estimate for images, which have an entry for each size they are padded to
        (and for each flip, also where flips are reused, if they do not fill it).

    Raises:
        UserError: augmentation cannot be replayed, flips cannot be reused, or the cache would
            become larger than allowed.
    """
    replay = replay_of(student)
    if settings.reuse_flips:
        if not replay.flips:
            raise UserError(
                "cache: reuse_flips needs flips that are drawn freely; set free_flips=True in "
                "ReplayedAugmentation"
            )
        check_equivariance(teacher, batch, replay.flips)
    each = entry_bytes(teacher, taps, settings, batch)
    forms = replay.variants * (1 if settings.reuse_flips else 1 + len(replay.flips))
    entries = min(frames * forms, draws)
    size_gb = entries * each / 1e9
    text = (
        f"teacher cache in {settings.dir}: {entries} entries ({frames} frames, {forms} forms each, "
        f"{draws} drawn) of {each / 1e6:.2f} MB, {size_gb:.2f} GB "
        f"{_holds_for(padded_size(batch['inputs']))}"
    )
    if size_gb > settings.max_gb:
        raise UserError(
            f"{text}, above max_gb={settings.max_gb:g}; raise max_gb, take fewer variants, or tap "
            "smaller maps"
        )
    images = None if "voxel" in student.model.data_preprocessor else student.model.data_preprocessor
    name = fingerprint(teacher.model, model, taps, settings, [replay.before, images])
    store = open_store(settings, name)
    cached = CachedTeacher(teacher, store, settings, taps, sweeps=replay.sweeps)
    return cached, f"{text}; {len(store)} are there, and max_gb={settings.max_gb:g} bounds them all"


def replay_of(config: Config) -> Replay:
    """Reads how augmentation is replayed from every pipeline of a training.

    Raises:
        UserError: a transform that may draw numbers stands outside of ReplayedAugmentation, or
            pipelines differ in what comes before it.
    """
    _refuse_mixing(config)
    found = [_pipeline(steps, "a train pipeline") for steps in pipelines(config.train_dataloader)]
    if not found:
        raise UserError("cache: the training set has no pipeline, so no frame can come again")
    later = [_pipeline(steps, "switch_pipeline of a hook") for steps in _switched(config)]
    every = [*found, *later]
    if any(replay.before != found[0].before for replay in every):
        raise UserError(
            "cache: the pipelines of joined data sets, or the switch_pipeline of a hook, prepare "
            "frames differently before ReplayedAugmentation; make these steps equal, or move them "
            "inside"
        )
    variants = max(replay.variants for replay in found) + sum(replay.variants for replay in later)
    flips = tuple(dict.fromkeys(flip for replay in every for flip in replay.flips))
    return Replay(variants, flips, found[0].before, any(replay.sweeps for replay in every))


def _switched(config: Config) -> list[Sequence[Mapping[str, Any]]]:
    """The pipelines that hooks (mmdet's PipelineSwitchHook) put in place while it trains."""
    hooks = [hook for hook in config.get("custom_hooks") or [] if isinstance(hook, Mapping)]
    return [hook["switch_pipeline"] for hook in hooks if hook.get("switch_pipeline")]


def entry_bytes(
    teacher: Teacher, taps: Sequence[Tap], settings: CacheSettings, batch: Mapping[str, Any]
) -> int:
    """Size of one frame's entry, from one batch."""
    values = teacher.features(batch["inputs"], batch["data_samples"])
    tensors: list[Tensor] = []
    for tap in dict.fromkeys(taps):
        flattened(values[tap], tensors)
    frames = len(batch["data_samples"])
    expect_by_frame(tensors, frames)
    dtype = DTYPES[settings.dtype]
    return sum(
        t.numel() // frames * (dtype.itemsize if t.is_floating_point() else t.itemsize)
        for t in tensors
    )


def _holds_for(size: tuple[int, ...]) -> str:
    if not size:
        return "at most"
    rows, columns = size
    return (
        f"if every image fills {rows} x {columns}, as the first batch's; other padding adds to it"
    )


def _pipeline(steps: Sequence[Mapping[str, Any]], where: str) -> Replay:
    kinds = [type_name(step) for step in steps]
    places = [place for place, kind in enumerate(kinds) if kind == "ReplayedAugmentation"]
    loose = [kind for kind in kinds if kind not in {*DETERMINISTIC, "ReplayedAugmentation"}]
    if loose == [_SWEEPS] and steps[kinds.index(_SWEEPS)].get("test_mode"):
        loose = []  # it takes the latest sweeps instead of random ones
    if places != [len(steps) - 1] or loose:
        outside = ", ".join(loose) or "no ReplayedAugmentation at its end, its packing"
        raise UserError(
            f"cache: {where} has {outside}"
            " outside of ReplayedAugmentation, so a frame would not come again as it was; end the "
            "pipeline with dict(type='ReplayedAugmentation', variants=..., transforms=[...]) and "
            "put every random transform and the packing inside"
        )
    step = steps[places[0]]
    flips = _free_flips(list(flat_steps(step["transforms"]))) if step.get("free_flips") else ()
    before = [s for s in steps[:-1] if type_name(s) not in _ANNOTATIONS]
    return Replay(int(step["variants"]), flips, before, _SWEEPS in kinds_in(steps))


def _free_flips(steps: Sequence[Mapping[str, Any]]) -> tuple[Flip, ...]:
    flips: list[Flip] = []
    for place, step in enumerate(steps):
        kind = type_name(step)
        if kind not in ("RandomFlip", "RandomFlip3D"):
            continue
        after = [type_name(s) for s in steps[place + 1 :] if type_name(s) not in _AFTER_FLIPS]
        if after:
            raise UserError(
                f"cache: {', '.join(after)} after {kind}: free_flips needs the flip to be the last "
                "change of the frame's geometry; move it behind"
            )
        if kind == "RandomFlip3D":
            rows = bool(step.get("flip_ratio_bev_horizontal"))
            columns = bool(step.get("flip_ratio_bev_vertical"))
        else:
            direction = str(step.get("direction", "horizontal"))
            rows, columns = "vertical" in direction, "horizontal" in direction
        flips += [Flip(True, False)] * rows + [Flip(False, True)] * columns
        flips += [Flip(True, True)] * (rows and columns)
    return tuple(flips)


def _refuse_mixing(config: Config) -> None:
    augments = config.model.get("data_preprocessor", {}).get("batch_augments")
    if augments:
        raise UserError(
            "cache: batch_augments of the data_preprocessor change frames after they were keyed; "
            "leave them out"
        )
    if "MultiImageMixDataset" in str(config.train_dataloader.get("dataset")):
        raise UserError("cache: MultiImageMixDataset joins frames at random; leave it out")
