"""DistillHook: the one line that turns an mmdet training into a distillation."""

import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from mmengine.config import Config
from mmengine.dist import is_distributed
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import BaseLoop
from torch import nn

from kd3d.configs import class_names, has_unlabelled
from kd3d.datasets.frame_counts import count_frames
from kd3d.distill import random_state
from kd3d.distill.additional_labels import AdditionalLabels, additional_labels
from kd3d.distill.cache import CACHE_FILL, CachedTeacher, CacheSettings
from kd3d.distill.cache_setup import cached_teacher
from kd3d.distill.connector_group import add_connector_group
from kd3d.distill.distiller import Distiller
from kd3d.distill.gradients import computed_twice
from kd3d.distill.hook_config import (
    checked_gradient_points,
    checked_pairs,
    checked_teacher,
    hook_label,
)
from kd3d.distill.known_frames import labelled_frames_only
from kd3d.distill.labelled_frames import LabelledFrames
from kd3d.distill.pair_config import pair_from_config
from kd3d.distill.point_loading import check_point_loading
from kd3d.distill.preflight import (
    PairReport,
    check_classes,
    check_custom_hooks,
    preflight,
    table,
    task_names,
)
from kd3d.distill.probe import frames_at_once, recorded_copy, training_batch
from kd3d.distill.recorder import Tap
from kd3d.distill.resume import ResumedRandomness
from kd3d.distill.teacher import Teacher, build_teacher_model, teacher_config
from kd3d.distill.teacher_input import TeacherInput
from kd3d.distill.truth import has_strangers
from kd3d.errors import UserError
from kd3d.models.separate_heads import initialize
from kd3d.registry import HOOKS

STATE = "distiller"


@HOOKS.register_module()
class DistillHook(Hook):
    """Trains the runner's detector with a teacher beside it; the detector stays what it is.

    Works on any config whose model is an MMEngine detector. Several hooks may stand in one
    config, each with its own teacher and a name of its own.

    Args:
        teacher: ``config`` (path or ``mmdet::...``), ``checkpoint`` (path, URL or ``"random"``)
            and, where its classes differ on purpose, ``num_classes``; ``cache``: a dict of
            :class:`kd3d.distill.cache.CacheSettings` that keeps its features on disk.
        pairs: dicts as :func:`kd3d.distill.pair.pair_from_config` takes them.
        additional_labels: lets the teacher's boxes be labels too; a dict as
            :func:`kd3d.distill.additional_labels.additional_labels` takes it.
        name: of this hook's state in the checkpoint; unique among DistillHooks.
        gradient_points: how often in a run the gradients of pairs and task are compared; the
            control twin is made from it. 0 turns it off, as a student with ``with_cp=True`` needs.

    Raises:
        UserError: before the first iteration, for whatever preflight finds.
    """

    priority = "NORMAL"

    def __init__(
        self,
        teacher: Mapping[str, Any],
        pairs: Sequence[Mapping[str, Any]],
        *,
        additional_labels: Mapping[str, Any] | None = None,
        name: str = "distill",
        gradient_points: int = 10,
    ) -> None:
        where = self._label = hook_label(name)
        self.name = name
        self.gradient_points = checked_gradient_points(gradient_points, where)
        self._labels_config = additional_labels
        self._teacher_config = checked_teacher(teacher, where)
        self._pair_configs = checked_pairs(pairs, where)
        if not pairs and additional_labels is None:
            raise UserError(f"{where}: pairs is empty, so nothing would be distilled")
        self._distiller: Distiller | None = None
        self._labelled_frames: LabelledFrames | None = None
        self._randomness = ResumedRandomness()
        self.reports: list[PairReport] = []
        self.notes: list[str] = []

    @property
    def distiller(self) -> Distiller:
        """What trains beside the student; it exists from ``before_run`` on."""
        assert self._distiller is not None, "before_run comes first"
        return self._distiller

    def before_run(self, runner: Any) -> None:
        """Builds teacher and connectors, while the optimizer can still take a group."""
        if not isinstance(runner._train_loop, BaseLoop):
            return
        check_custom_hooks(runner.cfg)
        self._check_unique(runner)
        if runner.max_iters < 1:  # progress is a fraction of them
            raise UserError(
                f"{self._label}: the training has {runner.max_iters} iterations, "
                "expected 1 or more; raise max_iters or max_epochs in train_cfg"
            )
        student = _bare(runner.model)
        self._check_gradient_points(student)
        device = next(student.parameters()).device
        seed = (runner.seed or 0) + zlib.crc32(self.name.encode())
        with random_state.preserved():
            torch.manual_seed(seed)
            pairs = [pair_from_config(config) for config in self._pair_configs]
            config = teacher_config(self._teacher_config["config"])
            model = build_teacher_model(config, self._teacher_config["checkpoint"], device=device)
            labels = self._additional_labels(runner)
            declared, known = self._teacher_config.get("num_classes"), task_names(model)
            by_number = any(pair.by_class_number for pair in pairs)
            check_classes(
                student,
                model,
                declared,
                names=(class_names(runner.cfg), class_names(config)),
                by_number=by_number or (labels is not None and known is None),
            )
            if labels is not None and known is not None:
                labels.check_names(known, declared, where=self._label)
            self.notes = check_point_loading(runner.cfg, config, (student, model))
            if _has_unknown_frames(runner.cfg, labels):
                self.notes += labelled_frames_only(pairs)
            taps = [tap for pair in pairs for tap in pair.teacher_taps]
            taps += [] if labels is None else [labels.teacher]
            prepare = TeacherInput(student.data_preprocessor, model.data_preprocessor)
            teacher = Teacher(model, taps, prepare=prepare)
            source = self._cached(teacher, taps, runner, config) or teacher
            self._distiller = Distiller(student, source, pairs, labels)
            self._build_connectors(runner, student, device)
        parameters = [p for pair in pairs for p in pair.connectors.parameters()]
        add_connector_group(runner, parameters)

    def after_load_checkpoint(self, runner: Any, checkpoint: dict[str, Any]) -> None:
        """Takes connectors and random state back on resume."""
        if self._distiller is None or not runner._resume:
            return
        state = checkpoint.get(STATE, {}).get(self.name)
        if state is None:
            raise UserError(
                f"the checkpoint to resume holds no state of {self._label}; it comes "
                "from another run: start one with load_from=, or give its own checkpoint"
            )
        names = {pair.name for pair in self._distiller.pairs}
        if set(state["connectors"]) != names:
            raise UserError(
                f"the checkpoint to resume has pairs {sorted(state['connectors'])}, the config "
                f"has {sorted(names)}; resume with the config that started the run"
            )
        for pair in self._distiller.pairs:
            pair.connectors.load_state_dict(state["connectors"][pair.name])
        self._randomness.load(runner, state["random"])

    def before_save_checkpoint(self, runner: Any, checkpoint: dict[str, Any]) -> None:
        """Writes connectors and random state beside the student's own weights."""
        if self._distiller is None:
            return
        connectors = {
            pair.name: {key: value.cpu() for key, value in pair.connectors.state_dict().items()}
            for pair in self._distiller.pairs
        }
        checkpoint.setdefault(STATE, {})[self.name] = {
            "connectors": connectors,
            "random": self._randomness.state(runner),
        }

    def before_train(self, runner: Any) -> None:
        """Preflight on one batch, then attaches to the student."""
        distiller = self.distiller
        distiller.progress = runner.iter / runner.max_iters
        if not distiller.stopped:
            batch = training_batch(runner, distiller.student)
            self.reports = preflight(distiller, batch)
            runner.logger.info(f"{self._label}\n{table(self.reports, self.notes)}")
        if isinstance(distiller.teacher, CachedTeacher):
            distiller.teacher.newly_filled_s()  # preflight's belongs to no iteration
        if is_distributed():
            for pair in distiller.pairs:
                pair.distribute()
        distiller.attach()
        if self is self._all_of(runner)[-1]:  # after all taps, and once
            self._labelled_frames = LabelledFrames(distiller.student)
            self._labelled_frames.attach()

    def before_train_epoch(self, runner: Any) -> None:
        """See :class:`kd3d.distill.resume.ResumedRandomness`."""
        self._randomness.before_train_epoch(runner)

    def before_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None) -> None:
        """Moves the schedules on and drops the teacher once they have all stopped."""
        self._randomness.before_train_iter()
        distiller = self.distiller
        distiller.progress = runner.iter / runner.max_iters
        distiller.has_strangers = has_strangers(data_batch)
        if distiller.teacher is not None and distiller.stopped:
            self._release(runner)
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
            runner.logger.info(f"{self._label}: stopped, the teacher is released")
        interval = max(runner.max_iters // max(self.gradient_points, 1), 1)
        if self.gradient_points and runner.iter % interval == interval // 2:
            distiller.measure_next = True
        if distiller.measure_next:
            distiller.loss_scale = _loss_scale(runner.optim_wrapper)

    def after_train_iter(
        self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Hands what was measured to the message hub, which a checkpoint carries."""
        distiller = self.distiller
        for key, value in distiller.measured.items():
            runner.message_hub.update_scalar(f"{self.name}/{key}", float(value))
        distiller.measured = {}
        if isinstance(distiller.teacher, CachedTeacher):
            filled_s = distiller.teacher.newly_filled_s()
            runner.message_hub.update_scalar(f"{self.name}/{CACHE_FILL}", filled_s)

    def before_val(self, runner: Any) -> None:
        """See :class:`kd3d.distill.resume.ResumedRandomness`."""
        self._randomness.before_val()

    def after_val(self, runner: Any) -> None:
        """See :class:`kd3d.distill.resume.ResumedRandomness`."""
        self._randomness.after_val()

    def after_train(self, runner: Any) -> None:
        """Leaves no hook on the student and no teacher in memory."""
        distiller = self.distiller
        distiller.detach()
        self._release(runner)
        if self._labelled_frames is not None:
            self._labelled_frames.detach()

    def _release(self, runner: Any) -> None:
        teacher, self.distiller.teacher = self.distiller.teacher, None
        if isinstance(teacher, CachedTeacher):
            runner.logger.info(f"{self._label}: {teacher.summary()}")
            teacher.store.close()

    def _cached(
        self, teacher: Teacher, taps: Sequence[Tap], runner: Any, config: Config
    ) -> CachedTeacher | None:
        if self._teacher_config.get("cache") is None:
            return None
        settings = CacheSettings.of(self._teacher_config["cache"], where=self._label)
        loader = runner.train_dataloader
        cached, text = cached_teacher(
            teacher,
            taps,
            settings,
            student=runner.cfg,
            model=config.model,
            batch=training_batch(runner, _bare(runner.model)),
            frames=sum(count_frames(loader.dataset)),
            draws=runner.max_iters * frames_at_once(loader) * runner.world_size,
        )
        runner.logger.info(f"{self._label}: {text}")
        return cached

    def _additional_labels(self, runner: Any) -> AdditionalLabels | None:
        if self._labels_config is None:
            return None
        names = _class_names(runner)
        return additional_labels(self._labels_config, names, where=self._label)

    @staticmethod
    def _all_of(runner: Any) -> "list[DistillHook]":
        return [hook for hook in runner.hooks if isinstance(hook, DistillHook)]

    def _check_unique(self, runner: Any) -> None:
        hooks = self._all_of(runner)
        names = [hook.name for hook in hooks]
        if names.count(self.name) > 1:
            raise UserError(
                f"two DistillHooks are named {self.name!r}; give each a name of its own: "
                "dict(type='DistillHook', name='...', ...)"
            )
        pairs = [str(pair.get("name")) for hook in hooks for pair in hook._pair_configs]
        twice = sorted({name for name in pairs if pairs.count(name) > 1})
        if twice:
            raise UserError(f"pair names must be unique, got {twice} more than once; rename one")

    def _check_gradient_points(self, student: nn.Module) -> None:
        found = computed_twice(student)
        if found and self.gradient_points:
            raise UserError(
                f"{self._label}: the student has with_cp=True (in {found[0]}), whose "
                f"gradients cannot be measured (gradient_points={self.gradient_points}); set "
                "gradient_points=0 (a control twin then needs its scale from the recipe), or "
                "with_cp=False"
            )

    def _build_connectors(self, runner: Any, student: nn.Module, device: torch.device) -> None:
        """One dry forward of both models shows the shapes that connectors have to join."""
        batch = training_batch(runner, student)
        with recorded_copy(self.distiller) as twin, torch.no_grad():
            try:
                found = twin.run_once(batch, for_shapes=True)
            except RuntimeError:  # before a tap: what proposals come from is not initialised yet
                initialize(twin.student)
                found = twin.run_once(batch, for_shapes=True)
        _, student_values, teacher_values = found
        for pair, config in zip(self.distiller.pairs, self._pair_configs, strict=True):
            pair.build_connectors(
                config.get("connector", "auto"),
                student_values[pair.student],
                teacher_values[pair.teacher],
                device,
                self.distiller.scene(pair, teacher_values),
            )


def _has_unknown_frames(config: Config, labels: AdditionalLabels | None) -> bool:
    """Whether frames have no labels and get none of the teacher's."""
    loader = config.get("train_dataloader") or {}
    return has_unlabelled(loader.get("dataset")) and not (labels is not None and labels.unlabelled)


def _bare(model: nn.Module) -> nn.Module:
    return model.get_submodule("module") if is_model_wrapper(model) else model


def _loss_scale(wrapper: Any) -> float:  # Any: an OptimWrapper, or several
    """By which an AmpOptimWrapper multiplies the losses; 1 of others."""
    scaler = getattr(wrapper, "loss_scaler", None)
    return 1.0 if scaler is None else float(scaler.get_scale())


def _class_names(runner: Any) -> list[str]:
    info = runner.train_dataloader.dataset.metainfo
    return list((info[0] if isinstance(info, list) else info)["classes"])
