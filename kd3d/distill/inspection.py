"""A config looked at through its own Runner, up to the first iteration and no further."""

import contextlib
import copy
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch import nn

from kd3d.configs import custom_hooks, distill_hooks
from kd3d.distill.hook import DistillHook
from kd3d.distill.hook_config import checked_teacher, hook_label
from kd3d.distill.preflight import PairReport, table
from kd3d.distill.probe import training_batch
from kd3d.distill.recorder import describe
from kd3d.distill.teacher import RANDOM, build_teacher_model, teacher_config
from kd3d.distill.teacher_input import TeacherInput
from kd3d.errors import UserError


class _BeforeTrainingReached(Exception):  # noqa: N818  (a signal, not an error)
    """Everything up to the first iteration has run."""


class _StopBeforeTraining(Hook):
    """Looks at the runner after all other hooks' ``before_train``, and ends it."""

    priority = "LOWEST"

    def __init__(self, look: Callable[[Any], None]) -> None:
        self.look = look

    def before_train(self, runner: Any) -> None:
        self.look(runner)
        raise _BeforeTrainingReached


@dataclass(frozen=True)
class ModuleOutput:
    """What a module returned in one training forward: the material for taps.

    Attributes:
        name: as in a tap.
        kind: class name.
        output: nesting and shapes.
        calls: how often it ran.
    """

    name: str
    kind: str
    output: str
    calls: int


@dataclass(frozen=True)
class Inspection:
    """What a DistillHook found before training.

    Attributes:
        pairs: one report each.
        notes: what is not as it was when the teacher was trained.
    """

    pairs: list[PairReport]
    notes: list[str]

    @property
    def text(self) -> str:
        """All of it, for a terminal."""
        return table(self.pairs, self.notes)


def inspect_pairs(config: Config) -> dict[str, Inspection]:
    """Runs a config's preflight: everything training does before its first iteration.

    Returns:
        What each DistillHook found, by its name.

    Raises:
        UserError: whatever preflight finds, or a config without a DistillHook.
    """
    found: dict[str, Inspection] = {}

    def look(runner: Any) -> None:
        for hook in runner.hooks:
            if isinstance(hook, DistillHook):
                found[hook.name] = Inspection(hook.reports, hook.notes)

    _run_until_training(config, look)
    if not found:
        raise UserError("the config has no DistillHook in custom_hooks; nothing is distilled")
    return found


def inspect_modules(config: Config) -> dict[str, list[ModuleOutput]]:
    """Lists what every module of the student and of its teachers returns.

    Returns:
        By model: "student", "teacher of <hook>".

    Raises:
        UserError: a teacher cannot be built, or ``custom_hooks`` is no list of hooks.
    """
    found: dict[str, list[ModuleOutput]] = {}
    config = Config(config._cfg_dict.copy())
    distilling = distill_hooks(config)
    config.custom_hooks = custom_hooks(config, without="DistillHook")

    def look(runner: Any) -> None:
        batch = training_batch(runner, runner.model)
        found["student"] = module_outputs(runner.model, batch)
        for hook in distilling:
            name = hook.get("name", "distill")
            teacher = hook.get("teacher")
            if isinstance(teacher, Mapping):  # its modules can be looked at before it is trained
                teacher = {"checkpoint": RANDOM, **teacher}
            given = checked_teacher(teacher, hook_label(name))
            model = build_teacher_model(
                teacher_config(given["config"]),
                given["checkpoint"],
                device=next(runner.model.parameters()).device,
            )
            student: Any = runner.model  # Any: data_preprocessor of an untyped library
            prepare = TeacherInput(student.data_preprocessor, model.data_preprocessor)
            inputs = prepare(batch["inputs"], batch["data_samples"])
            own = {**batch, "inputs": inputs}
            found[f"teacher of {name}"] = module_outputs(model, own, may_end_early=True)

    _run_until_training(config, look)
    return found


@torch.no_grad()
def module_outputs(
    model: nn.Module, batch: dict[str, Any], *, may_end_early: bool = False
) -> list[ModuleOutput]:
    """Runs one forward in "loss" mode and describes each module's output.

    Args:
        model: a detector.
        batch: ``inputs`` and ``data_samples``, which are not changed.
        may_end_early: describe what ran where the forward fails, as losses of a teacher may.
    """
    seen: dict[str, ModuleOutput] = {}
    handles = []
    for name, module in model.named_modules():

        def note(module: nn.Module, args: Any, output: Any, name: str = name) -> None:
            calls = seen[name].calls + 1 if name in seen else 1
            seen[name] = ModuleOutput(name, type(module).__name__, describe(output), calls)

        if name:
            handles.append(module.register_forward_hook(note))
    try:  # losses may change the samples
        model(batch["inputs"], copy.deepcopy(batch["data_samples"]), mode="loss")
    except Exception:
        if not (may_end_early and seen):
            raise
    finally:
        for handle in handles:
            handle.remove()
    order = [name for name, _ in model.named_modules()]
    return sorted(seen.values(), key=lambda item: order.index(item.name))


def _run_until_training(config: Config, look: Callable[[Any], None]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        config = Config(config._cfg_dict.copy(), filename=config.filename)
        config.work_dir = folder
        # MMEngine shares a visualizer among runs of one name, and names them by the second
        config.experiment_name = Path(folder).name
        for part in ("dataloader", "cfg", "evaluator"):  # only the training set is looked at
            config[f"val_{part}"] = None
        runner = Runner.from_cfg(config)
        runner.register_hook(_StopBeforeTraining(look))
        with contextlib.suppress(_BeforeTrainingReached):
            runner.train()
