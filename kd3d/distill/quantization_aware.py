"""QuantizationAwareHook: the student trains with the arithmetic of its INT8 file."""

from collections.abc import Sequence
from typing import Any

import torch
from mmengine.dist import all_reduce, is_distributed
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import BaseLoop
from torch import nn

from kd3d.distill.quantized_layers import QuantizedLayers
from kd3d.errors import UserError
from kd3d.registry import HOOKS

QUANTIZATION = "quantization"  # key beside the weights in a checkpoint


@HOOKS.register_module()
class QuantizationAwareHook(Hook):
    """Fake-quantises weights and inputs of the student's layers while it trains and validates.

    Meant for a short fine-tuning from the student's fp32 weights (``load_from``), with a
    DistillHook whose teacher is that fp32 student, or a larger model. The checkpoint keeps the
    plain keys; the limits of activations lie beside them, for ``tools/export.py --precision int8``.
    Testing a checkpoint runs its weights in float: INT8 is what the exported file is tested for.

    Jacob et al. (2018) fold batch norm while they train. With one weight scale per output channel
    that changes no number (see ``fake_quantized_weight``), so layers are quantised as they stand.

    Args:
        keep_float: names of modules that stay float, with all below them; the same stay float in
            the exported file.
        percentile: of the sizes in a batch of activations, which 127 stands for. Their largest
            follows outliers: YOLOX-nano (SiLU) loses all accuracy by it.
        freeze_batch_norm: uses the running statistics of the fp32 student and leaves them as they
            are, as the exported file does (Krishnamoorthi, 2018).
        enabled: False trains the same without any of it, which is the fp32 twin.
    """

    priority = "NORMAL"

    def __init__(
        self,
        keep_float: Sequence[str] = (),
        *,
        percentile: float = 99.9,
        freeze_batch_norm: bool = True,
        enabled: bool = True,
    ) -> None:
        if not 0 < percentile <= 100:
            raise UserError(
                f"QuantizationAwareHook: percentile is {percentile}, expected above 0, up to 100"
            )
        self.keep_float, self.percentile = tuple(keep_float), percentile
        self.freeze_batch_norm, self.enabled = freeze_batch_norm, enabled
        self._layers: QuantizedLayers | None = None
        self._batch_norms: list[nn.Module] = []

    @property
    def layers(self) -> QuantizedLayers:
        """What is quantised; it exists from ``before_run`` on, where ``enabled``."""
        assert self._layers is not None, "before_run comes first"
        return self._layers

    def before_run(self, runner: Any) -> None:
        """Finds the layers, so that a wrong name ends the run at once."""
        if not self.enabled or not isinstance(runner._train_loop, BaseLoop):
            return
        model: nn.Module = runner.model
        student = model.get_submodule("module") if is_model_wrapper(model) else model
        self._layers = QuantizedLayers(student, self.keep_float, percentile=self.percentile)
        if self.freeze_batch_norm:
            norms = nn.modules.batchnorm._BatchNorm  # SyncBatchNorm too
            self._batch_norms = [m for m in student.modules() if isinstance(m, norms)]

    def after_load_checkpoint(self, runner: Any, checkpoint: dict[str, Any]) -> None:
        """Takes the limits back on resume."""
        if self._layers is None or not runner._resume:
            return
        state = checkpoint.get(QUANTIZATION)
        if state is None or state["keep_float"] != list(self.keep_float):
            found = "none" if state is None else f"one with keep_float={state['keep_float']}"
            raise UserError(
                f"the checkpoint to resume holds {found} of QuantizationAwareHook's states, the "
                f"config has keep_float={list(self.keep_float)}; resume with the config that "
                "started the run, or start one with load_from="
            )
        self._layers.limits = state["limits"]

    def before_save_checkpoint(self, runner: Any, checkpoint: dict[str, Any]) -> None:
        """Writes the limits beside the student's own weights."""
        if self._layers is not None:
            limits = {name: value.cpu() for name, value in self._layers.limits.items()}
            checkpoint[QUANTIZATION] = {"keep_float": list(self.keep_float), "limits": limits}

    def before_train(self, runner: Any) -> None:
        """Attaches to the student."""
        if self._layers is None:
            return
        self._layers.attach()
        runner.logger.info(
            f"QuantizationAwareHook: {len(self._layers.names)} layers are trained as INT8; float "
            f"stay {', '.join(self.keep_float) or 'none of the convolutions and linear layers'}"
        )

    def before_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None) -> None:
        """Holds batch norm still: loops put the whole model into train mode."""
        for norm in self._batch_norms:
            norm.eval()

    def after_train_iter(
        self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Gives all processes the same limits."""
        if self._layers is None or not is_distributed():
            return
        limits = self._layers.limits
        together = torch.cat(list(limits.values()))
        all_reduce(together, op="mean")
        parts = torch.split(together, [len(value) for value in limits.values()])
        self._layers.limits = dict(zip(limits, parts, strict=True))

    def after_train(self, runner: Any) -> None:
        """Leaves no hook on the student."""
        if self._layers is not None:
            self._layers.detach()
