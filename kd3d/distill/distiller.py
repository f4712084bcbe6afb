"""The Distiller: runs the teacher beside the student's forward and adds the pairs' losses."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from mmengine.dist import broadcast
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from kd3d.distill.additional_labels import AdditionalLabels, added_boxes
from kd3d.distill.bev_extent import grid_of, map_extent
from kd3d.distill.cache import CachedTeacher
from kd3d.distill.gradients import gradients, norm, total_loss, trainable
from kd3d.distill.labelled_frames import LabelledFrames
from kd3d.distill.loss_hooks import Losses, hook_loss
from kd3d.distill.pair import Pair
from kd3d.distill.recorder import FeatureRecorder, Tap
from kd3d.distill.scene import Scene
from kd3d.distill.teacher import Teacher
from kd3d.distill.teacher_input import Inputs
from kd3d.distill.truth import Truth
from kd3d.errors import UserError
from kd3d.heads import prediction_of

ADDED_BOXES = "teacher_boxes"  # a frame, in the log beside the losses


class Distiller:
    """Teacher, pairs and the student they act on.

    While attached, a forward of the student in "loss" mode runs the teacher first (its
    activations are gone before the student's graph exists), records the student's taps, and
    returns the student's losses with ``loss_<pair>`` added. Nothing on the student is patched:
    two forward hooks are registered by :meth:`attach` and removed by :meth:`detach`.

    Args:
        student: the bare detector, not its DDP wrapper.
        teacher: None once the schedules have stopped it.
        pairs: what is compared.
        labels: adds boxes of the teacher to the labels, or None.
    """

    def __init__(
        self,
        student: nn.Module,
        teacher: Teacher | CachedTeacher | None,
        pairs: Sequence[Pair],
        labels: AdditionalLabels | None = None,
    ) -> None:
        self.student, self.teacher, self.pairs = student, teacher, list(pairs)
        self.labels = labels
        self.progress = 0.0
        self.measure_next = False
        self.loss_scale = 1.0  # that keeps gradients of half precision from vanishing
        self.has_strangers = True  # not known before a batch has been looked at
        self.measured: dict[str, Tensor] = {}
        self._recorder = FeatureRecorder(
            student, [pair.student for pair in self.pairs], owner="student"
        )
        self._teacher_values: dict[Tap, Any] = {}
        self._truth: Truth | None = None
        self._handles: list[RemovableHandle] = []
        self._added_boxes = 0.0

    @property
    def stopped(self) -> bool:
        """Whether every pair's weight is 0 from here on, so that no teacher is needed."""
        return self.labels is None and all(
            pair.weight.stopped(self.progress) for pair in self.pairs
        )

    def attach(self) -> None:
        """Registers the two forward hooks on the student."""
        self._handles = hook_loss(self)

    def detach(self) -> None:
        """Removes every hook and drops everything recorded; harmless when called twice."""
        for handle in self._handles:
            handle.remove()
        self._handles = []
        self._recorder.abandon()
        self._teacher_values, self._truth = {}, None

    def before_forward(self, inputs: Inputs, samples: Sequence[Any]) -> Sequence[Any]:
        """Runs the teacher and starts to record the student, where any pair has a weight.

        Returns:
            The samples that the student's task loss reads.
        """
        weighted = any(pair.weight.at(self.progress) for pair in self.pairs)
        if self.teacher is None or not (weighted or self.labels) or not torch.is_grad_enabled():
            return samples
        self._teacher_values = self.teacher.features(inputs, samples)
        taught = self.with_labels(samples, self._teacher_values)
        self._added_boxes = added_boxes(samples, taught) / len(samples)
        self._truth = self.truth_of(samples, taught)
        self._recorder.start()
        return taught

    def after_forward(self, losses: Losses | None) -> Losses | None:
        """Adds the pairs' losses; None leaves the student's output as it is."""
        teacher_values, self._teacher_values = self._teacher_values, {}
        truth, self._truth = self._truth, None
        if losses is None or not teacher_values:
            self._recorder.abandon()
            return None
        added = self.pair_losses(self._recorder.finish(), teacher_values, truth)
        if self.measure_next:
            self.measured = self._measure(losses, added)
            self.measure_next = not _main_process_has(self.measured)
        if self.labels is not None:  # for the log; of all hooks together
            here = torch.tensor(self._added_boxes)
            added[ADDED_BOXES] = here + losses.get(ADDED_BOXES, torch.tensor(0.0))
        return {**losses, **added}

    def run_once(
        self, batch: dict[str, Any], *, for_shapes: bool = False
    ) -> tuple[Losses, dict[Tap, Any], dict[Tap, Any]]:
        """One forward of both models outside of training, whatever the weights are.

        Args:
            batch: ``inputs`` and ``data_samples``.
            for_shapes: the student's losses may fail, as they can before its weights are
                initialised (proposals of Sparse R-CNN, level embeddings of Deformable DETR).

        Returns:
            The student's own losses, what its taps read, and what the teacher's taps read.

        Raises:
            UserError: a tap was never reached.
        """
        assert self.teacher is not None
        taught = self.teacher.features(batch["inputs"], batch["data_samples"])
        self._recorder.start()
        samples = self.with_labels(batch["data_samples"], taught)
        losses: Losses = {}
        try:
            with LabelledFrames(self.student):
                losses = self.student(batch["inputs"], samples, mode="loss")
        except Exception:
            if not for_shapes or self._recorder.unreached():
                self._recorder.abandon()
                raise
        return losses, self._recorder.finish(), taught

    def pair_losses(
        self,
        student_values: Mapping[Tap, Any],
        teacher_values: Mapping[Tap, Any],
        truth: Truth | None = None,
        *,
        local: bool = False,
        weighted: bool = True,
    ) -> dict[str, Tensor]:
        """``loss_<pair>`` of every pair that has a weight now (of all where not ``weighted``)."""
        losses = {}
        for pair in self.pairs:
            weight = pair.weight.at(self.progress) if weighted else 1.0
            if weight:
                value = pair(
                    student_values[pair.student],
                    teacher_values[pair.teacher],
                    heads=self.tapped(pair),
                    progress=self.progress,
                    local=local,
                    scene=self.scene(pair, teacher_values, truth),
                )
                losses[f"loss_{pair.name}"] = value * weight
        return losses

    def with_labels(
        self, samples: Sequence[Any], teacher_values: Mapping[Tap, Any]
    ) -> Sequence[Any]:
        """The samples that the student's task loss reads: with the teacher's boxes, if it adds any.

        Args:
            samples: as the data set gives them.
            teacher_values: what the teacher's taps read of the same frames.
        """
        if self.labels is None:
            return samples
        return self.labels(samples, self._decoded(self.labels.teacher, teacher_values))

    def tapped(self, pair: Pair) -> tuple[nn.Module, nn.Module]:
        """The modules of student and teacher that a pair's taps name."""
        assert self.teacher is not None
        return (
            self.student.get_submodule(pair.student.module),
            self.teacher.model.get_submodule(pair.teacher.module),
        )

    @torch.no_grad()
    def _decoded(self, tap: Tap, teacher_values: Mapping[Tap, Any]) -> Any:
        """What the teacher's tapped head predicts."""
        assert self.teacher is not None
        head, value = self.teacher.model.get_submodule(tap.module), teacher_values[tap]
        grid = grid_of(value, map_extent(self.teacher.model))
        return prediction_of(head, value, grid=grid)

    def truth_of(self, samples: Sequence[Any], taught: Sequence[Any]) -> Truth | None:
        """Boxes and labels of a batch, where any pair reads them.

        Args:
            samples: as the data set gives them.
            taught: as :meth:`with_labels` makes them.
        """
        if not any(pair.needs_truth for pair in self.pairs):
            return None
        device = next(self.student.parameters()).device
        return Truth.of(samples, device, taught=taught, strangers=not self.has_strangers)

    def scene(
        self, pair: Pair, teacher_values: Mapping[Tap, Any], truth: Truth | None = None
    ) -> Scene:
        """What the parts of a pair may ask for."""
        assert self.teacher is not None
        extent = map_extent(self.teacher.model)
        guide = None
        if pair.mask is not None and pair.mask.teacher is not None:
            guide = self._decoded(pair.mask.teacher, teacher_values)
        return Scene(truth, map_extent(self.student), extent, guide)

    def _measure(self, losses: Losses, added: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Gradient norms on this rank: each pair against the task, and the growth of their sum.

        Empty where no frame had a label, or half precision overflowed. All processes go through
        as many backward passes, whatever they find: SyncBatchNorm has them wait for each other.
        """
        parameters = trainable(self.student)
        task = gradients(self.loss_scale * total_loss(losses), parameters)
        if task is None:
            return {}
        both, size = task, norm(task)
        measured = {}
        for name, loss in added.items():
            gradient = gradients(self.loss_scale * loss, parameters)
            if gradient is not None:
                measured[f"gradient_share/{name.removeprefix('loss_')}"] = norm(gradient) / size
                both = [a + b for a, b in zip(both, gradient, strict=True)]
        measured["gradient_scale"] = norm(both) / size
        found = bool(torch.stack(list(measured.values())).isfinite().all())
        return measured if found else {}


def _main_process_has(measured: Mapping[str, Tensor]) -> bool:
    """The same answer on all processes, so that they measure at the same iterations."""
    told = torch.tensor(int(bool(measured)))
    broadcast(told)
    return bool(told)


def check_names(pairs: Sequence[Pair], task_losses: Mapping[str, Any]) -> None:
    """Refuses pairs whose loss has the name of one of the student's own.

    Raises:
        UserError: names the pair.
    """
    for name in (pair.name for pair in pairs):
        if f"loss_{name}" in task_losses:
            raise UserError(
                f"pair {name!r}: the student already has a loss 'loss_{name}'; rename the pair"
            )
