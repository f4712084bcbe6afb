"""The twins of a distilled config: the same training without a teacher.

Every function returns a new config and leaves the given one as it is.
"""

import copy
from collections.abc import Mapping, Sequence
from typing import Any

from mmengine.config import Config, ConfigDict

from kd3d.errors import UserError

# What evaluation needs of a student's config; the rest belongs to its training.
_TRAINING = (
    *("train_dataloader", "train_cfg", "optim_wrapper", "param_scheduler", "auto_scale_lr"),
    *("val_dataloader", "val_evaluator", "val_cfg", "custom_hooks", "load_from", "resume"),
)


def distill_hooks(config: Config) -> list[ConfigDict]:
    """The DistillHooks of a config, in their order."""
    return [hook for hook in config.get("custom_hooks") or [] if _is_distill_hook(hook)]


def teacher_hook(config: Config, name: str = "") -> ConfigDict:
    """The DistillHook whose teacher the gap is measured to.

    Args:
        config: of the distilled student.
        name: of the hook; may be empty where there is only one.

    Raises:
        UserError: no DistillHook, none of that name, or several and no name.
    """
    hooks = distill_hooks(config)
    if not hooks:
        raise UserError(
            f"{config.filename}: custom_hooks has no DistillHook, so there is nothing to compare; "
            "give the config of a distilled student"
        )
    names = [hook.get("name", "distill") for hook in hooks]
    if name:
        hooks = [hook for hook in hooks if hook.get("name", "distill") == name]
    if len(hooks) != 1:
        raise UserError(
            f"{config.filename}: has the DistillHooks {', '.join(names)}, and the recipe's teacher "
            f"is {name!r}; set teacher to one of these names"
        )
    return hooks[0]


def baseline_config(distilled: Config) -> Config:
    """The same training without a teacher: no DistillHook, every other hook kept."""
    teacher_free = copy.deepcopy(distilled)
    hooks = teacher_free.get("custom_hooks") or []
    teacher_free.custom_hooks = [hook for hook in hooks if not _is_distill_hook(hook)]
    return teacher_free


def control_config(
    distilled: Config, *, scale: float, terms: Sequence[str] | None = None
) -> Config:
    """The baseline with its ground-truth losses multiplied.

    Args:
        distilled: config of the distilled student.
        scale: factor of the losses.
        terms: names of the losses; None for all.
    """
    control = baseline_config(distilled)
    hook = {"type": "GroundTruthScaleHook", "scale": scale}
    if terms is not None:
        hook["terms"] = list(terms)
    control.custom_hooks = [*control.custom_hooks, hook]
    return _importing(control, ["kd3d.distill.control"])


def teacher_test_config(distilled: Config, teacher: Config) -> Config:
    """The teacher's model on the student's test images, as the student's pipeline makes them.

    The teacher is measured as it taught: on the same images at the same size.

    Raises:
        UserError: the student's config has no test set.
    """
    for key in ("test_dataloader", "test_evaluator"):
        if not distilled.get(key):
            raise UserError(f"{distilled.filename}: has no {key}, so nothing can be evaluated")
    config = copy.deepcopy(distilled)
    for key in _TRAINING:
        config.pop(key, None)
    # _delete_ is not needed: assignment replaces the student's model
    config.model = copy.deepcopy(teacher.model)
    imports = (teacher.get("custom_imports") or {}).get("imports", [])
    return _importing(config, imports)


def with_teacher_checkpoint(distilled: Config, name: str, checkpoint: str) -> Config:
    """The distilled config with the checkpoint of one hook's teacher replaced.

    Args:
        distilled: config of the distilled student.
        name: as of ``teacher_hook``.
        checkpoint: path.
    """
    changed = copy.deepcopy(distilled)
    teacher_hook(changed, name).teacher.checkpoint = checkpoint
    return changed


def _is_distill_hook(hook: Mapping[str, Any]) -> bool:  # Any: config values
    kind = hook.get("type")
    name = kind if isinstance(kind, str) else getattr(kind, "__name__", "")
    return name.split(".")[-1] == "DistillHook"


def _importing(config: Config, modules: Sequence[str]) -> Config:
    """Adds modules to ``custom_imports``, in place."""
    present = config.get("custom_imports") or {}
    imports = present.get("imports", [])
    imports = [imports] if isinstance(imports, str) else list(imports)
    modules = [modules] if isinstance(modules, str) else modules
    imports += [module for module in modules if module not in imports]
    if imports:
        config.custom_imports = {**present, "imports": imports}
    return config
