"""The Teacher: a frozen detector outside the student's module tree."""

import copy
from collections.abc import Sequence
from typing import Any

import torch
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope
from torch import nn

from kd3d.checkpoints import load_checkpoint, load_weights, unwrapped
from kd3d.configs import load_config, type_name
from kd3d.distill import random_state
from kd3d.distill.recorder import FeatureRecorder, LastTapReached, Tap
from kd3d.distill.teacher_input import Inputs, TeacherInput
from kd3d.errors import UserError
from kd3d.models.separate_heads import initialize

RANDOM = "random"


class Teacher:
    """A frozen detector that is run up to the last of its taps and no further.

    It is no ``nn.Module``: whatever holds it does not adopt its parameters, so it stays out of
    the student's checkpoint, optimizer, EMA copy and DDP buckets.

    Args:
        model: a detector; it is frozen here, see :func:`freeze`.
        taps: what to read from it.
        prepare: maps the student's batch to the teacher's input; None passes it on.
    """

    def __init__(
        self, model: nn.Module, taps: Sequence[Tap], *, prepare: TeacherInput | None = None
    ) -> None:
        self.model = model
        freeze(model)
        self.prepare = prepare
        self._recorder = FeatureRecorder(model, taps, owner="teacher")
        self._knows_last_tap = False

    @torch.no_grad()
    def features(self, inputs: Inputs, samples: Sequence[Any]) -> dict[Tap, Any]:
        """Reads all taps.

        Args:
            inputs: the student's network input: (B, C, H, W), or mmdet3d's dict.
            samples: B data samples of the student's batch.

        Returns:
            What each tap read, without gradient.

        Raises:
            UserError: a tap was never reached.
        """
        assert not self.model.training, "the teacher was put into train mode"
        if self.prepare is not None:
            inputs = self.prepare(inputs, samples)
        if not self._knows_last_tap:
            samples = copy.deepcopy(list(samples))  # losses beyond may change them (Anchor3DHead's)
        self._recorder.start(stop_after_last=self._knows_last_tap)
        try:
            with random_state.preserved():  # the student draws from the same generators
                self.model(inputs, list(samples), mode="loss")
        except LastTapReached:
            pass
        except Exception as error:
            # The first forward goes on past the last tap, into code that is never run again and
            # may fail there for reasons that do not matter (losses over other classes).
            lacking = self._recorder.unreached()
            if self._knows_last_tap or lacking:
                self._recorder.abandon()
                if isinstance(error, _OF_OTHER_CODE) and lacking:
                    raise UserError(self._ended(lacking[0], error)) from None
                raise
        self._knows_last_tap = True
        return self._recorder.finish()

    def _ended(self, tap: Tap, error: Exception) -> str:
        text = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
        return (
            f"teacher tap {tap.text!r} was never reached: the frozen {type(self.model).__name__} "
            f"ended before it ({text}); tap a module that comes earlier, such as 'neck'"
        )


# What a detector raises that lacks something of a batch, or of training, as the losses of DETRs do
_OF_OTHER_CODE = (TypeError, AttributeError, LookupError, ValueError, AssertionError)


def freeze(model: nn.Module) -> None:
    """Puts a detector into eval mode, but for what its heads answer, and takes its gradients away.

    What mmdet's heads return can depend on their own mode: in eval mode FCOS gives pixels in place
    of strides, VFNet and RepPoints boxes in place of two sets of offsets, SOLO probabilities of
    another size, and guided anchors look only where the first image has something. So that a tap
    reads the same thing in both models, heads keep the mode they train in; all that normalises or
    drops lies in modules inside them.
    """
    model.eval()  # a statement: mmdet's LD returns nothing from it
    for head in model.modules():
        if any(base.__name__ in _HEADS for base in type(head).__mro__):
            head.training = True
    model.requires_grad_(False)


_HEADS = {"BaseDenseHead", "BaseMaskHead", "BaseMono3DDenseHead"}


def teacher_config(source: str | Config) -> Config:
    """Reads a teacher's config: a path, or ``mmdet::retinanet/...py`` from an installed package.

    Raises:
        UserError: no such config (near names are offered), or it cannot be read.
    """
    if isinstance(source, Config):
        return source
    try:
        return load_config(source)
    except UserError as error:
        raise UserError(f"teacher {error}") from None


def build_teacher_model(config: Config, checkpoint: str, *, device: torch.device) -> nn.Module:
    """Builds the teacher's detector and fills it from its checkpoint, strictly.

    Args:
        config: with a ``model``.
        checkpoint: path or URL; ``"random"`` initialises it from scratch, for tests and
            benchmarks only.
        device: where it runs.

    Raises:
        UserError: the checkpoint does not fit, lacks a part, or holds an untrained part.
    """
    settings = copy.deepcopy(config.model)
    drop_pretrained(settings)
    with DefaultScope.overwrite_default_scope(config.get("default_scope", "mmdet")):
        model: Any = MODELS.build(settings)  # Any: init_weights is MMEngine's
    if checkpoint == RANDOM:
        initialize(model)
    else:
        state = unwrapped(load_checkpoint(checkpoint)["state_dict"])
        load_weights(model, state, where=f"teacher checkpoint {checkpoint}")
        check_trained(model, where=checkpoint)
    freeze(model)
    moved: nn.Module = model.to(device)
    return moved


def check_trained(model: nn.Module, *, where: str) -> None:
    """Refuses a model with a part that still holds its initial values.

    Initialisers set biases and normalisation weights to constants; training moves every element
    differently. A child module whose 1-D parameters are all still constant was never trained.

    Raises:
        UserError: names the untrained part.
    """
    for name, child in model.named_children():
        vectors = [p for p in child.parameters() if p.ndim == 1 and p.numel() > 1]
        if vectors and all(bool((vector == vector[0]).all()) for vector in vectors):
            raise UserError(
                f"teacher checkpoint {where}: {name!r} was never trained (all its biases and "
                "normalisation weights still hold their initial constants); give a trained "
                f"checkpoint, or checkpoint={RANDOM!r} if a random teacher is meant"
            )


def is_pretrained(init: Any) -> bool:  # Any: config values
    """Whether an ``init_cfg`` reads weights: by the name in the registry, or as a class."""
    return type_name(init) in ("Pretrained", "PretrainedInit")


def drop_pretrained(settings: Any) -> None:  # Any: nested config values
    """Removes from a model's config, in place, what would fetch weights of a backbone.

    A teacher's own checkpoint brings all weights, and a random one needs none.
    """
    if isinstance(settings, dict):
        if is_pretrained(settings.get("init_cfg")):
            settings["init_cfg"] = None
        if "pretrained" in settings:
            settings["pretrained"] = None
        for value in settings.values():
            drop_pretrained(value)
    elif isinstance(settings, list | tuple):
        for value in settings:
            drop_pretrained(value)
