"""Preflight: what would silently ruin a distillation, found before the first iteration."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from torch import nn

from kd3d.bev_grid import BevGrid
from kd3d.configs import custom_hooks, has_unlabelled, type_name
from kd3d.distill.distiller import Distiller, check_names
from kd3d.distill.gradients import (
    compute_once,
    computed_twice,
    gradients,
    norm,
    total_loss,
    trainable,
)
from kd3d.distill.pair import Pair
from kd3d.distill.probe import recorded_copy
from kd3d.distill.recorder import Tap, describe, tensors_in
from kd3d.distill.scene import grids
from kd3d.distill.tapped_axes import check_axes
from kd3d.errors import UserError


@dataclass(frozen=True)
class PairReport:
    """One pair as found in one training batch.

    Attributes:
        name: of the pair.
        student: the student's tap and shapes.
        teacher: the teacher's tap and shapes.
        connector: what joins them.
        mask: where the loss looks.
        grids: what the BEV maps of student and teacher cover; "" for images.
        loss: type of the loss.
        value: of the unweighted loss.
        weight: the largest of training.
        gradient_share: norm of the weighted loss's gradient over the task's, on the student; None
            where the task has none, as in a batch without any labelled frame.
    """

    name: str
    student: str
    teacher: str
    connector: str
    mask: str
    grids: str
    loss: str
    value: float
    weight: float
    gradient_share: float | None


def preflight(distiller: Distiller, batch: dict[str, Any]) -> list[PairReport]:
    """Runs one training forward on a copy of the student and checks every pair.

    Args:
        distiller: not attached, with its teacher and connectors.
        batch: as :func:`kd3d.distill.probe.training_batch` gives it.

    Returns:
        One report a pair.

    Raises:
        UserError: a pair's name collides, its loss is not finite, or its gradient does not
            reach the student.
    """
    with recorded_copy(distiller) as twin:
        hidden = _taps_without_gradient(twin, batch) if computed_twice(twin.student) else set()
        compute_once(twin.student)
        task_losses, student_values, teacher_values = twin.run_once(batch)
        _check_blocks(twin.pairs, student_values, hidden)
        samples = batch["data_samples"]
        for pair in twin.pairs:
            own, other = twin.tapped(pair)
            check_axes(pair, pair.student, student_values[pair.student], own, len(samples))
            check_axes(pair, pair.teacher, teacher_values[pair.teacher], other, len(samples))
        check_names(twin.pairs, task_losses)
        truth = twin.truth_of(samples, twin.with_labels(samples, teacher_values))
        losses = twin.pair_losses(student_values, teacher_values, truth, local=True, weighted=False)
        parameters = trainable(twin.student)
        task = gradients(total_loss(task_losses), parameters)
        if task is None:
            raise UserError("the student has no trainable parameter that its losses reach")
        task_norm = float(norm(task))
        reports = []
        for pair in twin.pairs:
            value = losses[f"loss_{pair.name}"]
            gradient = _checked_gradient(pair.name, pair.student.text, value, parameters)
            pull = pair.weight.largest * float(norm(gradient))
            reports.append(
                PairReport(
                    pair.name,
                    f"{pair.student.text} {describe(student_values[pair.student])}",
                    f"{pair.teacher.text} {describe(teacher_values[pair.teacher])}",
                    pair.connector_text,
                    "none" if pair.mask is None else pair.mask.text,
                    _grids(student_values, teacher_values, twin, pair),
                    type(pair.loss).__name__,
                    float(value.detach()),
                    pair.weight.largest,
                    pull / task_norm if task_norm else None,
                )
            )
    return reports


def _taps_without_gradient(twin: Distiller, batch: dict[str, Any]) -> set[Tap]:
    values = twin.run_once(batch)[1]
    return {tap for tap, value in values.items() if not _learns(value)}


def _check_blocks(
    pairs: Sequence[Pair], student_values: Mapping[Tap, Any], hidden: set[Tap]
) -> None:
    """Refuses taps that have a gradient only where every block is computed once."""
    for pair in pairs:
        if pair.student in hidden and _learns(student_values[pair.student]):
            raise UserError(
                f"pair {pair.name!r}: tap {pair.student.text!r} is within a block with "
                "with_cp=True, where nothing has a gradient in the forward; tap the block itself "
                "or a later module, or set with_cp=False"
            )


def _learns(value: Any) -> bool:  # Any: what a tap reads, nested
    return any(tensor.requires_grad for tensor in tensors_in(value))


def _grids(
    student_values: Mapping[Tap, Any],
    teacher_values: Mapping[Tap, Any],
    distiller: Distiller,
    pair: Pair,
) -> str:
    scene = distiller.scene(pair, teacher_values)
    found = grids(student_values[pair.student], teacher_values[pair.teacher], scene)
    text = [f"{name.removesuffix('_grid')} {_metres(grid)}" for name, grid in found.items()]
    inside = pair.inside(0, found) if found else None
    if inside is not None and bool((inside == 0).any()):
        share = 100 * float((inside == 0).float().mean())
        treated = "left out" if pair.leaves_out_beyond else "compared with the student's border"
        text.append(f"{share:.0f} % of the teacher's map is beyond the student's and {treated}")
    return "; ".join(text)


def _metres(grid: BevGrid) -> str:
    return (
        f"x {grid.x_min_m:g} to {grid.x_max_m:g} m, y {grid.y_min_m:g} to {grid.y_max_m:g} m, "
        f"cells of {grid.cell_x_m:g} x {grid.cell_y_m:g} m"
    )


def _checked_gradient(
    name: str, tap: str, value: torch.Tensor, parameters: Sequence[nn.Parameter]
) -> list[torch.Tensor]:
    if value.ndim != 0:
        raise UserError(f"pair {name!r}: expected a scalar loss, got shape {tuple(value.shape)}")
    if not bool(torch.isfinite(value)):
        raise UserError(
            f"pair {name!r}: the loss is {value.item()} on the first batch; look for an untrained "
            "or wrong teacher, or features that need a connector with normalisation"
        )
    gradient = gradients(value, parameters)
    if gradient is None:
        raise UserError(
            f"pair {name!r}: its gradient does not reach any trainable parameter of the student; "
            f"tap {tap!r} is detached or frozen (frozen_stages, stop-gradient), so nothing would "
            "be learned: tap a later module"
        )
    if not bool(torch.isfinite(norm(gradient))):
        raise UserError(f"pair {name!r}: its gradient is not finite on the first batch")
    return gradient


def check_classes(
    student: nn.Module,
    teacher: nn.Module,
    declared: int | None,
    *,
    names: tuple[Sequence[str], Sequence[str]] = ((), ()),
    by_number: bool = True,
) -> None:
    """Compares how many classes the heads tell apart, and which.

    Args:
        student: the student.
        teacher: the teacher.
        declared: what the config says of the teacher (``teacher=dict(num_classes=...)``), where
            it knowingly differs and only features are compared.
        names: of the classes in the two configs' data, in the order of labels; empty where
            unknown. The classes of a CenterHead's tasks come before them.
        by_number: whether class k is compared with class k, so that their order matters.

    Raises:
        UserError: they differ and the config does not say so.
    """
    own, other = _num_classes(student), _num_classes(teacher)
    if declared is not None:
        if other not in (declared, None):
            raise UserError(f"teacher: num_classes={declared} was declared, its head has {other}")
        return
    if own is not None and other is not None and own != other:
        raise UserError(
            f"the student tells {own} classes apart, the teacher {other}; give a teacher trained "
            "on the same classes, or, where pairs compare features only, say that this is meant: "
            f"teacher=dict(..., num_classes={other})"
        )
    ours, theirs = task_names(student) or names[0], task_names(teacher) or names[1]
    apart = [pair for pair in enumerate(zip(ours, theirs, strict=False)) if len(set(pair[1])) > 1]
    if apart and len(ours) == len(theirs) and by_number:
        index, (here, there) = apart[0]
        raise UserError(
            f"class {index} is {here!r} to the student and {there!r} to the teacher ({len(apart)} "
            f"of {len(ours)} differ), and what is compared by class would be by number; give a "
            "teacher of the same classes in the same order, compare features before the heads, or "
            f"say that this is meant: teacher=dict(..., num_classes={other or len(theirs)})"
        )


def task_names(model: nn.Module) -> list[str] | None:
    """Of a CenterHead, in the order of its tasks, which is that of its outputs; else None."""
    tasks = getattr(getattr(model, "pts_bbox_head", None), "class_names", None)
    return None if tasks is None else [str(name) for task in tasks for name in task]


def check_custom_hooks(config: Config) -> None:
    """Refuses a config whose ``custom_hooks`` list silently replaced that of its base.

    Lists in MMEngine configs replace, they do not merge. Where a hook is to go on purpose, drop
    it in a config between the two.

    Raises:
        UserError: names the dropped hooks and prints the line to write, or it is no list of hooks.
    """
    own, path = custom_hooks(config), config.filename
    if not path or not Path(path).is_file():
        return
    dropped: list[str] = []
    for base in _bases(path):
        kept = [_type(hook) for hook in own]
        for hook in base.get("custom_hooks") or []:
            if _type(hook) in kept:
                kept.remove(_type(hook))
            else:
                dropped.append(_type(hook))
    if dropped:
        raise UserError(
            f"{path}: its custom_hooks replace those of its base and drop {', '.join(dropped)}; "
            "write\n  custom_hooks = [*_base_.custom_hooks, dict(type=...)]\nto keep them"
        )


def check_unlabelled(config: Config) -> None:
    """Refuses a training on frames without labels that no teacher speaks for.

    It is the DistillHook that keeps them out of the task loss; to a detector by itself they are
    frames without objects.

    Raises:
        UserError: the training set has Unlabelled frames, and no DistillHook is there.
    """
    loader = config.get("train_dataloader") or {}
    hooks = map(type_name, config.get("custom_hooks") or [])
    if has_unlabelled(loader.get("dataset")) and "DistillHook" not in hooks:
        raise UserError(
            f"{config.filename}: train_dataloader has Unlabelled frames, but custom_hooks has no "
            "DistillHook: the detector would learn that nothing is there; add the hook with a "
            "teacher, or leave the Unlabelled part out of the data set"
        )


def table(reports: Sequence[PairReport], notes: Sequence[str] = ()) -> str:
    """The reports as text, one block a pair, after what is to be noted about the teacher."""
    lines = [f"note: {note}" for note in notes]
    for r in reports:
        lines += [
            f"pair {r.name!r}: {r.loss}, weight {r.weight:g}",
            f"  student    {r.student}",
            f"  teacher    {r.teacher}",
            f"  connector  {r.connector}",
            *([f"  grids      {r.grids}"] if r.grids else []),
            *([f"  mask       {r.mask}"] if r.mask != "none" else []),
            f"  loss       {r.value:.4g}; {_share(r.gradient_share)}",
        ]
    return "\n".join(lines)


def _share(gradient_share: float | None) -> str:
    if gradient_share is None:
        return "the task has no gradient in this batch (no frame has labels), so none to compare"
    return f"weighted, its gradient on the student is {100 * gradient_share:.1f} % of the task's"


def _bases(path: str) -> list[Config]:
    source = Config._parse_lazy_import if Config._is_lazy_import(path) else None
    if source is not None:  # lazy configs merge by Python's own rules, in the open
        return []
    names = Config._get_base_files(path)
    return [Config.fromfile(Config._get_cfg_path(name, path)[0]) for name in names]


def _type(hook: Any) -> str:  # Any: a dict or a built hook
    return type_name(hook) or type(hook).__name__


def _num_classes(model: nn.Module) -> int | None:
    """Of its heads, the most: mmdet's proposals are of one class, PointRCNN's regions, too."""
    found = []
    for name in ("bbox_head", "rpn_head", "roi_head.bbox_head", "pts_bbox_head"):
        head: Any = model
        for part in name.split("."):
            head = getattr(head, part, None)
        if isinstance(head, nn.ModuleList):
            head = head[-1]
        if head is not None and hasattr(head, "num_classes"):
            classes = head.num_classes  # a list: CenterHead counts them by task
            found.append(sum(classes) if isinstance(classes, list | tuple) else int(classes))
    return max(found, default=None)
