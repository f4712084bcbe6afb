"""Taps (where a feature is read) and the FeatureRecorder that reads them during one forward."""

import difflib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from kd3d.errors import UserError

_GRAMMAR = re.compile(r"^(?P<module>\w+(?:\.\w+)*)(?P<selectors>(?:\[[^\[\]]+\])*)$")


class LastTapReached(Exception):  # noqa: N818  (a signal, not an error)
    """Ends a teacher's forward: everything asked for has been recorded."""


@dataclass(frozen=True)
class Tap:
    """A module's output, or a part of it: ``neck``, ``neck[0]`` or ``a.b[0][key]``.

    Attributes:
        text: as written in the config.
        module: dotted name as in ``model.named_modules()``.
        selectors: indices and keys applied to the module's output, in order.
    """

    text: str
    module: str
    selectors: tuple[int | str, ...]

    @classmethod
    def parse(cls, text: str) -> "Tap":
        """Reads the tap grammar.

        Raises:
            UserError: the text does not follow it.
        """
        match = _GRAMMAR.match(text) if isinstance(text, str) else None
        if match is None:
            raise UserError(
                f"tap {text!r}: expected a module name with optional [index] or [key], "
                "such as 'neck', 'neck[0]' or 'bbox_head[0][1]'"
            )
        keys = re.findall(r"\[([^\[\]]+)\]", match["selectors"])
        selectors = tuple(int(key) if re.fullmatch(r"-?\d+", key) else key for key in keys)
        return cls(text, match["module"], selectors)

    def select(self, output: Any) -> Any:  # Any: a module returns any nesting of tensors
        """Applies the selectors to the module's output.

        Raises:
            UserError: a selector does not fit; the message shows what the output holds.
        """
        value = output
        try:
            for selector in self.selectors:
                value = value[selector]
        except (KeyError, IndexError, TypeError):
            raise UserError(
                f"tap {self.text!r}: [{selector}] does not fit; module {self.module!r} "
                f"gives {describe(output)}"
            ) from None
        return value


def describe(value: Any) -> str:  # Any: whatever a module returned
    """The nesting and shapes of a module's output in one line."""
    if isinstance(value, Tensor):
        return f"tensor {tuple(value.shape)}"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {describe(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(describe(item) for item in value) + "]"
    return type(value).__name__


class FeatureRecorder:
    """Records the outputs of tapped modules during one forward of ``model``.

    Forward hooks exist between :meth:`start` and :meth:`finish` only, and nothing is kept
    afterwards, so the model can be copied, pickled and exported at any other time.
    A module that runs several times in a forward (a head shared by levels) gives the list of
    its outputs in call order. What is recorded inside a head whose own loss writes into its output
    is a clone, so that a pair reads what the head predicted.

    Args:
        model: holds the tapped modules.
        taps: what to record.
        owner: named in errors, "student" or "teacher".

    Raises:
        UserError: a tap names no module; the nearest names are offered.
    """

    def __init__(self, model: nn.Module, taps: Iterable[Tap], *, owner: str) -> None:
        self.taps = tuple(dict.fromkeys(taps))
        self.owner = owner
        modules = dict(model.named_modules())
        self._modules = {tap.module: _find(modules, tap, owner) for tap in self.taps}
        self._cloned = {name for name in self._modules if _in_changing_head(modules, name)}
        self._outputs: dict[str, list[Any]] = {}
        self._versions: dict[str, list[tuple[Tensor, int]]] = {}
        self._handles: list[RemovableHandle] = []
        self._calls: dict[str, int] | None = None

    def start(self, *, stop_after_last: bool = False) -> None:
        """Begins to record.

        Args:
            stop_after_last: raise :class:`LastTapReached` from the model's forward once each
                module has run as often as it did in the first recorded forward.
        """
        assert not self._handles, "finish() comes before the next start()"
        self._outputs = {name: [] for name in self._modules}
        calls = self._calls if stop_after_last else None
        for name, module in self._modules.items():
            self._handles.append(module.register_forward_hook(self._hook(name, calls)))

    def finish(self) -> dict[Tap, Any]:  # Any: selected part of a module's output
        """Ends recording and hands over what each tap read; keeps nothing.

        Raises:
            UserError: a tap was never reached, or what it read was changed in place afterwards.
        """
        outputs, versions = self._outputs, self._versions
        self.abandon()
        for tap in self.taps:
            if not outputs[tap.module]:
                raise UserError(
                    f"{self.owner} tap {tap.text!r} was never reached: module {tap.module!r} "
                    "exists but is not called in a training forward (mmdet3d's decode heads run "
                    "by their forward alone); tap the module that calls it, or one within it "
                    "(list: tools/check.py CONFIG --modules)"
                )
        for name, tensors in versions.items():
            if any(tensor._version != version for tensor, version in tensors):
                raise UserError(
                    f"{self.owner} tap on {name!r}: its output is changed in place by the module "
                    "after it (an in-place activation, usually); tap that module instead"
                )
        if self._calls is None:
            self._calls = {name: len(calls) for name, calls in outputs.items()}
        values = {name: calls[0] if len(calls) == 1 else calls for name, calls in outputs.items()}
        return {tap: tap.select(values[tap.module]) for tap in self.taps}

    def abandon(self) -> None:
        """Removes every forward hook and drops what was recorded."""
        for handle in self._handles:
            handle.remove()
        self._handles, self._outputs, self._versions = [], {}, {}

    def unreached(self) -> list[Tap]:
        """Taps whose module has not run since :meth:`start`."""
        return [tap for tap in self.taps if not self._outputs.get(tap.module)]

    def _hook(self, name: str, calls: dict[str, int] | None) -> Any:  # Any: torch's hook type
        # A closure over plain containers: copies of a module share it instead of copying us.
        outputs, versions = self._outputs, self._versions
        cloned = name in self._cloned

        def record(module: nn.Module, args: Any, output: Any) -> None:
            if cloned:
                output = copied(output)
            outputs[name].append(output)
            versions.setdefault(name, []).extend((t, t._version) for t in tensors_in(output))
            if calls and all(len(outputs[other]) >= count for other, count in calls.items()):
                raise LastTapReached

        return record


def tensors_in(value: Any) -> list[Tensor]:  # Any: any nesting of tensors
    """All tensors of a module's output, depth first."""
    if isinstance(value, Tensor):
        return [value]
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list | tuple):
        return [tensor for item in value for tensor in tensors_in(item)]
    return []


def copied(value: Any) -> Any:  # Any: any nesting of tensors
    """New containers around clones; gradients flow through the clones."""
    if isinstance(value, Tensor):
        return value.clone()
    if isinstance(value, dict):
        return {key: copied(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)([copied(item) for item in value])
    return value


# mmdet3d's CenterHead replaces its logits in place by probabilities (clip_sigmoid) and adds
# entries to its dicts while it computes the task loss, after every tap has been read.
_CHANGING_HEADS = {"CenterHead"}


def _in_changing_head(modules: dict[str, nn.Module], name: str) -> bool:
    parts = name.split(".")
    owners = [modules[".".join(parts[: i + 1])] for i in range(len(parts))]
    return any(base.__name__ in _CHANGING_HEADS for o in owners for base in type(o).__mro__)


def _find(modules: dict[str, nn.Module], tap: Tap, owner: str) -> nn.Module:
    if tap.module in modules:
        return modules[tap.module]
    names = [name for name in modules if name]
    near = difflib.get_close_matches(tap.module, names, n=3, cutoff=0.5)
    hint = "did you mean " + " or ".join(map(repr, near)) + "?" if near else "nothing is near it"
    raise UserError(
        f"{owner} has no module {tap.module!r} (tap {tap.text!r}); {hint} "
        "(list: tools/check.py CONFIG --modules)"
    )
