"""The layers of a student whose arithmetic is INT8's while it is attached to them."""

import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from kd3d.distill.fake_quantization import (
    fake_quantized_activation,
    fake_quantized_weight,
    limit_of,
)
from kd3d.errors import UserError

_TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
_KINDS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, *_TRANSPOSED, nn.Linear)


class QuantizedLayers:
    """Fake quantisation of weights and inputs of a student's convolutions and linear layers.

    Nothing of the student is replaced: parameters, modules and ``state_dict`` stay, and what is
    put on it by :meth:`attach` is taken off by :meth:`detach`. During a layer's forward its
    weight is hidden by the fake-quantised one, through which the gradient reaches the parameter.

    A module that runs several times in one forward (a head over its levels) has a limit for each
    time, as it stands several times in the exported graph.

    Args:
        student: the bare detector, not its DDP wrapper.
        keep_float: names of modules that stay as they are, with all below them.
        percentile: of the sizes in a batch, which the limit is; see ``limit_of``.
        momentum: weight of the newest batch in a limit.

    Raises:
        UserError: a name is none of the student's, or nothing is left to quantise.
    """

    def __init__(
        self,
        student: nn.Module,
        keep_float: Sequence[str] = (),
        *,
        percentile: float = 99.9,
        momentum: float = 0.05,
    ) -> None:
        self.student, self.percentile, self.momentum = student, percentile, momentum
        self._layers = _layers(student, keep_float)
        self._limits: dict[str, list[Tensor]] = {name: [] for name in self._layers}
        self._calls: dict[str, int] = {}
        self._running = False
        self._handles: list[RemovableHandle] = []

    @property
    def names(self) -> list[str]:
        """Of the quantised layers, in the student's order."""
        return list(self._layers)

    @property
    def limits(self) -> dict[str, Tensor]:
        """Of each layer's input: (calls,), in the order of calls; layers that ran."""
        return {name: torch.stack(limits) for name, limits in self._limits.items() if limits}

    @limits.setter
    def limits(self, limits: Mapping[str, Tensor]) -> None:
        device = next(self.student.parameters()).device
        for name, values in limits.items():
            self._limits[name] = list(values.to(device))

    def attach(self) -> None:
        """Registers the hooks on the student and its layers."""
        owner = weakref.ref(self)
        begin, end = _student_hooks(owner)
        self._handles = [
            self.student.register_forward_pre_hook(begin),
            self.student.register_forward_hook(end, always_call=True),
        ]
        for name, layer in self._layers.items():
            before, after = _layer_hooks(owner, name)
            self._handles += [
                layer.register_forward_pre_hook(before),
                layer.register_forward_hook(after, always_call=True),
            ]

    def detach(self) -> None:
        """Removes every hook; harmless when called twice."""
        for handle in self._handles:
            handle.remove()
        self._handles = []

    def is_layer(self, name: str, module: nn.Module) -> bool:
        """Whether the module is the student's own, not that of a copy."""
        return self._layers[name] is module

    def begin(self) -> None:
        """A forward of the student begins."""
        self._calls, self._running = {}, True

    def end(self) -> None:
        """A forward of the student has ended, in whatever way."""
        self._calls, self._running = {}, False

    def before_layer(self, name: str, value: Tensor) -> Tensor:
        """Hides the layer's weight; the input to go on with."""
        layer = self._layers[name]
        axis = 1 if isinstance(layer, _TRANSPOSED) else 0
        weight = layer._parameters["weight"]
        assert weight is not None
        # Not a parameter of that name: those are looked up only where __dict__ has none.
        layer.__dict__["weight"] = fake_quantized_weight(weight, axis)
        call = self._calls.get(name, 0)
        self._calls[name] = call + 1
        limit = self._limit(name, call, value.detach())
        return value if limit is None else fake_quantized_activation(value, limit)

    def after_layer(self, name: str) -> None:
        """Uncovers the layer's weight."""
        self._layers[name].__dict__.pop("weight", None)

    def _limit(self, name: str, call: int, value: Tensor) -> Tensor | None:
        limits = self._limits[name]
        # not while activations are computed again in backward (checkpointing): seen once is enough
        if self._running and self.student.training and value.numel():
            newest = limit_of(value, self.percentile)
            if call < len(limits):
                limits[call] = limits[call].lerp(newest, self.momentum)
            else:
                limits.append(newest)
        return limits[min(call, len(limits) - 1)] if limits else None


def _layers(student: nn.Module, keep_float: Sequence[str]) -> dict[str, nn.Module]:
    modules = dict(student.named_modules())
    for name in keep_float:
        if name not in modules:
            raise UserError(
                f"QuantizationAwareHook: keep_float names {name!r}, which is no module of the "
                "student (list: tools/check.py CONFIG --modules)"
            )
    found: dict[str, nn.Module] = {
        name: module
        for name, module in modules.items()
        if isinstance(module, _KINDS)
        and not any(name == kept or name.startswith(f"{kept}.") for kept in keep_float)
    }
    if not found:
        raise UserError(
            "QuantizationAwareHook: no convolution or linear layer is left to quantise; shorten "
            "keep_float, or leave the hook out"
        )
    return found


Owner = weakref.ReferenceType[QuantizedLayers]


def _student_hooks(owner: Owner) -> tuple[Callable[..., None], Callable[..., None]]:
    """Plain closures over a weak reference: a copy of the student shares them, without effect."""

    def begin(module: nn.Module, args: Any) -> None:
        layers = owner()
        if layers is not None and module is layers.student:
            layers.begin()

    def end(module: nn.Module, args: Any, output: Any) -> None:
        layers = owner()
        if layers is not None and module is layers.student:
            layers.end()

    return begin, end


def _layer_hooks(owner: Owner, name: str) -> tuple[Callable[..., Any], Callable[..., None]]:
    """As :func:`_student_hooks`, for one layer."""

    def before(module: nn.Module, args: tuple[Tensor, ...]) -> Any:
        layers = owner()
        if layers is None or not layers.is_layer(name, module):
            return None
        return (layers.before_layer(name, args[0]), *args[1:])

    def after(module: nn.Module, args: Any, output: Any) -> None:
        layers = owner()
        if layers is not None and layers.is_layer(name, module):
            layers.after_layer(name)

    return before, after
