"""The twins of a distilled config: the same training without a teacher.

Every function returns a new config and leaves the given one as it is.
"""

import copy
from collections.abc import Mapping, Sequence
from typing import Any

from mmengine.config import Config, ConfigDict

from kd3d.configs import (
    class_names,
    custom_hooks,
    distill_hooks,
    has_unlabelled,
    merge_options,
    type_name,
)
from kd3d.errors import UserError

# What evaluation needs of a student's config; the rest belongs to its training.
_TRAINING = (
    *("train_dataloader", "train_cfg", "optim_wrapper", "param_scheduler", "auto_scale_lr"),
    *("val_dataloader", "val_evaluator", "val_cfg", "custom_hooks", "load_from", "resume"),
)


def teacher_hook(config: Config, name: str = "") -> Any:  # Any: config values
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
    """The same training without a teacher: no DistillHook, every other hook kept.

    Without a teacher nothing is learnt from frames without labels, so these are left out; the
    batch keeps its size and holds labelled frames.

    Raises:
        UserError: the training set has no labels at all.
    """
    teacher_free = copy.deepcopy(distilled)
    teacher_free.custom_hooks = custom_hooks(teacher_free, without="DistillHook")
    loader = teacher_free.get("train_dataloader")
    if loader and has_unlabelled(loader.get("dataset")):
        dataset = _labelled(loader.dataset)
        if dataset is None:
            raise UserError(
                f"{distilled.filename}: its training set is Unlabelled throughout, so a baseline "
                "has nothing to learn from; join labelled frames by ConcatDataset"
            )
        loader.dataset = dataset
        if type_name(loader.sampler) == "MultiSourceSampler":
            loader.sampler = ConfigDict(type="InfiniteSampler", shuffle=True)
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


def variant_config(
    distilled: Config,
    name: str,
    pairs: Sequence[str] | None,
    changes: Mapping[str, Any],  # Any: config values
) -> Config:
    """The distilled config with some of its pairs only, or with other settings.

    A DistillHook that keeps no pair is dropped, so that its teacher need not run.

    Args:
        distilled: config of the distilled student.
        name: of the variant, for messages.
        pairs: names of those that stay, over all DistillHooks; None for all.
        changes: dotted keys -> values; a number selects from a list, such as
            "custom_hooks.0.pairs.1.weight" (counted after ``pairs`` was applied).

    Raises:
        UserError: a pair, or a key, that the config does not have.
    """
    varied = copy.deepcopy(distilled)
    where = f"{distilled.filename}: recipe.variants.{name}"
    if pairs is not None:
        known = [pair.get("name") for hook in distill_hooks(varied) for pair in hook.pairs]
        if strange := [pair for pair in pairs if pair not in known]:
            raise UserError(f"{where} names the pair {strange[0]!r}; the config has {known}")
        for hook in distill_hooks(varied):
            hook.pairs = [pair for pair in hook.pairs if pair.get("name") in pairs]
        varied.custom_hooks = [
            hook for hook in varied.custom_hooks if type_name(hook) != "DistillHook" or hook.pairs
        ]
    merge_options(varied, changes, str(distilled.filename), where=f"{where}.changes")
    return varied


def teacher_test_config(distilled: Config, teacher: Config) -> Config:
    """The teacher's model on the student's test set, as the student's pipeline makes it.

    The teacher is measured as it taught. Of images: at the student's size. Of point clouds: from
    the student's points, its sweeps and range filter included, which the teacher's own
    preprocessor (``model.data_preprocessor``) turns into the teacher's voxels; what a teacher of
    longer range would find beyond the student's filter neither taught nor counts.

    Raises:
        UserError: the student's config has no test set, or the two list other classes (or the
            same in another order, which would turn every box into one of another class).
    """
    for key in ("test_dataloader", "test_evaluator"):
        if not distilled.get(key):
            raise UserError(f"{distilled.filename}: has no {key}, so nothing can be evaluated")
    ours, theirs = (class_names(config, ["test_dataloader"]) for config in (distilled, teacher))
    if ours and theirs and ours != theirs:
        raise UserError(
            f"{distilled.filename}: its classes are {ours}, those of the teacher "
            f"{teacher.filename} are {theirs}; both must list the same in the same order"
        )
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


def _labelled(dataset: Any) -> Any:  # Any: config values
    """The dataset without Unlabelled parts; None if nothing is left."""
    if type_name(dataset) == "Unlabelled":
        return None
    if dataset.get("datasets"):
        parts = [part for part in map(_labelled, dataset.datasets) if part is not None]
        if len(parts) < 2:
            return parts[0] if parts else None
        dataset.datasets = parts
    elif isinstance(dataset.get("dataset"), Mapping):
        dataset.dataset = _labelled(dataset.dataset)
        return None if dataset.dataset is None else dataset
    return dataset


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
