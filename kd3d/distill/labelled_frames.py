"""Batches with unlabelled frames: all frames reach the taps, labelled ones the task loss."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from kd3d.distill.loss_hooks import Losses, hook_loss
from kd3d.distill.truth import is_labelled
from kd3d.errors import UserError
from kd3d.on_device import on_device

_HEADS = ("bbox_head", "pts_bbox_head", "rpn_head")
# Detectors whose task loss is that of a dense head's own output, and of regions of interest.
_DETECTORS = {"SingleStageDetector", "TwoStageDetector", "VoxelNet", "MVXTwoStageDetector"}
_UNKNOWN = {"DetectionTransformer"}
_BRANCHES = (
    *("mask_head", "semantic_head", "glbctx_head", "img_backbone", "img_rpn_head"),
    "img_roi_head",
)


class LabelledFrames:
    """Keeps unlabelled frames out of a student's task loss, in "loss" mode.

    The student's forward is given the data samples of labelled frames only, while its input holds
    all frames. What a dense head returns is cut to the labelled ones after every tap has read it,
    and regions of interest are sent to the frames they belong to. So the task loss and its
    normalisation are those of the labelled frames alone, and all features are of all frames.
    A batch without any labelled frame gives task losses of 0, with a graph, as DDP wants it.

    Registered last, after what records taps; :meth:`detach` removes everything. Also a context.

    Args:
        student: the bare detector.
    """

    def __init__(self, student: nn.Module) -> None:
        self.student = student
        self._handles: list[RemovableHandle] = []
        self._inner: list[RemovableHandle] = []
        self._index: Tensor | None = None
        self._none_labelled = False
        self._frames = 0
        self._ran: set[str] = set()

    def attach(self) -> None:
        """Registers two forward hooks on the student, the second before all others there."""
        self._handles = hook_loss(self, first_after=True)

    def detach(self) -> None:
        """Harmless when called twice."""
        for handle in self._handles:
            handle.remove()
        self._handles = []
        self._clear()

    def __enter__(self) -> "LabelledFrames":
        self.attach()
        return self

    def __exit__(self, *error: object) -> None:
        self.detach()

    def before_forward(self, inputs: Any, samples: Sequence[Any]) -> Sequence[Any]:
        """Chooses the samples for the task loss and prepares the heads.

        Raises:
            UserError: the student's loss cannot be restricted to some frames.
        """
        self._clear()
        places = [place for place, sample in enumerate(samples) if is_labelled(sample)]
        if len(places) == len(samples):
            return samples
        check_separable(self.student)
        self._none_labelled, self._frames = not places, len(samples)
        places = places or [0]  # without objects; its losses are multiplied by 0
        device = next(self.student.parameters()).device
        self._index = on_device(places, device)
        self._hook_heads()
        return [samples[place] for place in places]

    def after_forward(self, losses: Losses | None) -> Losses | None:
        """Removes what :meth:`before_forward` prepared; the losses where they have to change.

        Raises:
            UserError: a head was not run through its forward, so nothing was cut.
        """
        index, none_labelled, ran = self._index, self._none_labelled, self._ran
        heads = set(_heads(self.student))
        self._clear()
        if index is None or losses is None:
            return None
        if ran != heads:
            raise UserError(
                f"unlabelled frames: {', '.join(sorted(heads - ran))} of "
                f"{type(self.student).__name__} was not run through its forward; train this "
                "detector on labelled frames only"
            )
        if not none_labelled:
            return None
        return {name: _times_zero(value) for name, value in losses.items()}

    def _clear(self) -> None:
        for handle in self._inner:
            handle.remove()
        self._inner, self._index, self._none_labelled, self._ran = [], None, False, set()

    def _hook_heads(self) -> None:
        index, frames, ran = self._index, self._frames, self._ran
        assert index is not None

        for name in _heads(self.student):

            def cut(module: nn.Module, args: Any, output: Any, name: str = name) -> Any:
                ran.add(name)
                return selected_frames(output, index, frames, name)

            self._inner.append(self.student.get_submodule(name).register_forward_hook(cut))

        def send(module: nn.Module, args: Any) -> Any:
            features, regions = args[0], args[1]
            frame = index[regions[:, 0].long()].to(regions.dtype)
            moved = torch.cat([frame[:, None], regions[:, 1:]], dim=1)
            return (features, moved, *args[2:])

        for module in self.student.modules():
            if any(base.__name__ == "BaseRoIExtractor" for base in type(module).__mro__):
                self._inner.append(module.register_forward_pre_hook(send))


def check_separable(student: nn.Module) -> None:
    """Refuses detectors whose loss reads more than a dense head's output.

    Raises:
        UserError: names the detector and what is in the way.
    """
    families = {base.__name__ for base in type(student).__mro__}
    branches = [name for name in _BRANCHES if getattr(student, name, None) is not None]
    lidar_regions = "roi_head" in dict(student.named_children()) and not (
        families & {"TwoStageDetector"}
    )
    if not (families & _DETECTORS) or families & _UNKNOWN or branches or lidar_regions:
        because = f" with {', '.join(branches)}" if branches else ""
        raise UserError(
            f"unlabelled frames: the task loss of {type(student).__name__}{because} cannot be "
            "restricted to some frames of a batch; supported are single-stage and two-stage "
            "detectors of mmdet, CenterPoint, VoxelNet and MVXFasterRCNN without images: leave "
            "Unlabelled out of the training set"
        )


def _heads(student: nn.Module) -> list[str]:
    return [name for name in _HEADS if isinstance(getattr(student, name, None), nn.Module)]


def selected_frames(value: Any, index: Tensor, frames: int, name: str) -> Any:
    """Some frames of every tensor, in new containers.

    Args:
        value: what a module returned, nested.
        index: (P,) of the frames to keep.
        frames: of the batch.
        name: of the module, for messages.

    Raises:
        UserError: a tensor is not by frame.
    """
    if isinstance(value, Tensor):
        if value.ndim == 0 or value.shape[0] != frames:
            raise UserError(
                f"unlabelled frames: {name} returns a tensor {tuple(value.shape)} for "
                f"{frames} frames, which cannot be cut to the labelled ones; leave Unlabelled out "
                "of the training set"
            )
        return value[index]
    if isinstance(value, dict):
        return {key: selected_frames(item, index, frames, name) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)([selected_frames(item, index, frames, name) for item in value])
    return value


def _times_zero(value: Any) -> Any:
    return [_times_zero(item) for item in value] if isinstance(value, list) else value * 0.0
