"""CenterHead's heatmaps as their authors meant them to start: almost empty.

mmdet3d holds CenterHead's branches in a plain ModuleList, which ``init_weights`` of a detector does
not look into, so ``init_bias`` is never applied: every cell starts as half an object, and the first
loss is above 100. The branches' own ``init_weights`` is no way out: besides the bias it draws
weights by fan-out, which for one class over 64 channels gives logits of tens.
"""

from typing import Any

import torch
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import BaseLoop
from torch import nn

from kd3d.registry import HOOKS


@torch.no_grad()
def init_separate_heads(model: nn.Module) -> int:
    """Gives the last heatmap layer of every CenterHead branch its ``init_bias``.

    Weights keep what torch draws for a convolution (as Yin et al., 2021, have it for heatmaps).

    Returns:
        How many branches there are.
    """
    found: list[tuple[Any, Any]] = []  # Any: attributes of an untyped library
    for module in model.modules():
        names = {base.__name__ for base in type(module).__mro__}
        if "SeparateHead" in names and "heatmap" in module.heads:  # type: ignore[operator]
            found.append((module.heatmap[-1], module.init_bias))  # type: ignore[index]
        elif "DCNSeparateHead" in names:
            found.append((module.cls_head[-1], module.init_bias))  # type: ignore[index]
    for layer, bias in found:
        layer.bias.fill_(bias)
    return len(found)


def initialize(model: Any) -> None:  # Any: init_weights is MMEngine's
    """``model.init_weights()``, CenterHead's heatmaps included."""
    model.init_weights()
    init_separate_heads(model)


@HOOKS.register_module()
class InitSeparateHeads(Hook):
    """Starts CenterHead's heatmaps almost empty; a checkpoint loaded later overrules it.

    One line of ``custom_hooks`` in the config of any CenterPoint trained from scratch.
    """

    priority = "VERY_HIGH"

    def __init__(self) -> None:
        self._done = False

    def before_run(self, runner: Any) -> None:
        """Comes before weights are loaded, and before other hooks copy the model."""
        if self._done or not isinstance(runner._train_loop, BaseLoop):
            return  # a test, perhaps of what this runner has just trained
        self._done = True
        model = runner.model
        init_separate_heads(model.get_submodule("module") if is_model_wrapper(model) else model)
