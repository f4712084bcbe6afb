"""Three kinds of training step that are compared to tell what distillation costs.

They are the student alone, the floor (the student, and a teacher's forward that ends where its
last tap lies), and kd3d as a Runner trains with it.
"""

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.hooks import Hook
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS, DefaultScope
from mmengine.runner import Runner
from torch import nn
from torch.utils.data import DataLoader

from kd3d.configs import type_name
from kd3d.distill.hook import DistillHook
from kd3d.distill.teacher import RANDOM, build_teacher_model, drop_pretrained, teacher_config
from kd3d.errors import UserError
from kd3d.profiling.costs.step_memory import resident_bytes
from kd3d.profiling.costs.synthetic_detections import SyntheticDetections
from kd3d.profiling.costs.training_floor import forward_to, last_stage
from kd3d.profiling.costs.training_parts import distillation_parts

T = TypeVar("T")
Step = Callable[[], Mapping[str, Any]]  # runs once and gives the losses by name
FloorTeacher = tuple[nn.Module, str]  # and the stage it ends with
# So small that hundreds of steps on a few images stay finite; a step costs the same at any rate.
_LEARNING_RATE = 1e-6
# So long that the comparison of gradients, ten times in a run, does not fall into the measurement.
_ITERATIONS = 1_000_000


@dataclass(frozen=True)
class Arm:
    """One kind of training step.

    Attributes:
        step: runs it once.
        resident_bytes: what the arm keeps in memory between steps, once warm.
    """

    step: Step
    resident_bytes: Callable[[], int]


@dataclass(frozen=True)
class Comparison:
    """What is measured side by side.

    Attributes:
        arms: "student", "floor" and "kd3d".
        parts: what kd3d's step does beside the student's own work.
        device: where all of them run.
    """

    arms: dict[str, Arm]
    parts: dict[str, Callable[[], object]]
    device: torch.device


def with_comparison(
    config: Config, use: Callable[[Comparison], T], *, batch: int = 2, size_px: int = 256
) -> T:
    """Builds the arms for a config and hands them over while its DistillHooks are attached.

    Images are noise, all weights are random and nothing is fetched. Every pair has weight 1: its
    cost does not depend on it.

    Args:
        config: with one DistillHook or more.
        use: measures; called once, before the first iteration of a training that ends there.
        batch: images a step.
        size_px: height and width of the input.

    Raises:
        UserError: no DistillHook, or a teacher's tap lies outside of backbone, neck and bbox_head.
    """
    settings = _settings(config)
    data = SyntheticDetections(batch, size_px)
    found: list[T] = []
    with tempfile.TemporaryDirectory() as folder:
        runner = Runner(
            model=settings["model"],
            work_dir=folder,
            experiment_name=Path(folder).name,  # by default runs of one second share a visualizer
            train_dataloader=DataLoader(data, batch_size=batch, collate_fn=pseudo_collate),
            train_cfg={"type": "IterBasedTrainLoop", "max_iters": _ITERATIONS},
            optim_wrapper=settings["optim_wrapper"],
            default_hooks={"checkpoint": None, "logger": None, "param_scheduler": None},
            custom_hooks=settings["hooks"],
            default_scope=settings["default_scope"],
            log_level="ERROR",
        )
        runner.register_hook(
            InsteadOfTraining(lambda runner: found.append(use(_comparison(runner, settings))))
        )
        runner.train()
    return found[0]


class InsteadOfTraining(Hook):
    """Runs after all other hooks' ``before_train`` and ends the training there."""

    priority = "LOWEST"

    def __init__(self, use: Callable[[Any], None]) -> None:
        self.use = use

    def before_train(self, runner: Any) -> None:
        """Hands the runner over, with everything attached."""
        runner.model.train()
        self.use(runner)
        runner.train_loop.stop_training = True


def _comparison(runner: Any, settings: dict[str, Any]) -> Comparison:
    batch = next(iter(runner.train_dataloader))
    device = next(runner.model.parameters()).device
    hooks = [hook for hook in runner.hooks if isinstance(hook, DistillHook)]
    with DefaultScope.overwrite_default_scope(settings["default_scope"]):
        student: Any = MODELS.build(settings["model"])
        student.init_weights()
        student.to(device).train()
        optim_wrapper: Any = build_optim_wrapper(student, settings["optim_wrapper"])
    plain, distilled = optim_wrapper.optimizer, runner.optim_wrapper.optimizer
    floor = [_floor_teacher(hook, device) for hook in settings["hooks"]]
    floor_models = [student, *(model for model, _ in floor)]
    teachers = [hook.distiller.teacher for hook in hooks]
    kd3d_models = [runner.model, *(teacher.model for teacher in teachers if teacher)]
    arms = {
        "student": Arm(
            lambda: dict(student.train_step(batch, optim_wrapper)),
            lambda: resident_bytes([student], plain),
        ),
        "floor": Arm(
            _floor_step(student, optim_wrapper, floor, batch),
            lambda: resident_bytes(floor_models, plain),
        ),
        "kd3d": Arm(
            _kd3d_step(runner, hooks, batch), lambda: resident_bytes(kd3d_models, distilled)
        ),
    }
    data = student.data_preprocessor(batch, True)
    parts: dict[str, Callable[[], object]] = {}
    for hook in hooks:
        own = distillation_parts(hook.distiller, student, data)
        several = f"{hook.name}: " if len(hooks) > 1 else ""
        parts |= {several + name: part for name, part in own.items()}
    return Comparison(arms, parts, device)


def _floor_teacher(hook: dict[str, Any], device: torch.device) -> FloorTeacher:
    model = build_teacher_model(teacher_config(hook["teacher"]["config"]), RANDOM, device=device)
    return model, last_stage(pair["teacher"] for pair in hook["pairs"])


def _floor_step(
    student: Any, optim_wrapper: Any, teachers: Sequence[FloorTeacher], batch: Any
) -> Step:
    """As ``BaseModel.train_step``, with the teachers on the student's preprocessed batch."""

    def step() -> Mapping[str, Any]:
        with optim_wrapper.optim_context(student):
            data = student.data_preprocessor(batch, True)
            for teacher, last in teachers:
                forward_to(teacher, data["inputs"], last)
            losses = student(**data, mode="loss")
        loss, named = student.parse_losses(losses)
        optim_wrapper.update_params(loss)
        return dict(named)

    return step


def _kd3d_step(runner: Any, hooks: Sequence[DistillHook], batch: Any) -> Step:
    """As MMEngine's loop runs it, without the hooks that are not ours."""

    def step() -> Mapping[str, Any]:
        for hook in hooks:
            hook.before_train_iter(runner, 0, batch)
        losses = dict(runner.model.train_step(batch, runner.optim_wrapper))
        for hook in hooks:
            hook.after_train_iter(runner, 0, batch, losses)
        return losses

    return step


def _settings(config: Config) -> dict[str, Any]:
    settings = config.to_dict()
    hooks = [h for h in settings.get("custom_hooks") or [] if type_name(h) == "DistillHook"]
    if not hooks:
        raise UserError("the config has no DistillHook in custom_hooks; nothing is distilled")
    for hook in hooks:
        hook["teacher"]["checkpoint"] = RANDOM
        hook["pairs"] = [{**pair, "weight": 1.0} for pair in hook["pairs"]]
    drop_pretrained(settings["model"])
    settings["optim_wrapper"]["optimizer"]["lr"] = _LEARNING_RATE
    return {
        "model": settings["model"],
        "optim_wrapper": settings["optim_wrapper"],
        "hooks": hooks,
        "default_scope": settings.get("default_scope", "mmdet"),
    }
