"""The Pair: student tap, teacher tap, connector, loss, weight and temperature."""

import copy
import inspect
from collections.abc import Mapping
from typing import Any

import torch
from mmengine.registry import DefaultScope
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

import kd3d.losses  # noqa: F401  (registers them)
from kd3d.connectors import connector_for
from kd3d.distill.recorder import Tap, describe
from kd3d.distill.schedules import Schedule
from kd3d.errors import UserError
from kd3d.heads.dense import dense_prediction
from kd3d.registry import CONNECTORS, LOSSES

ConnectorConfig = str | Mapping[str, Any] | None


class Pair:
    """One thing the student learns from the teacher.

    Args:
        name: unique in a run; its loss is logged as ``loss_<name>``.
        student: where the student's feature is read.
        teacher: where the teacher's is read.
        loss: compares one level, or two head predictions where it says ``needs_prediction``.
        weight: factor of the loss over progress.
        temperature: of the loss over progress; None leaves the loss its own.

    A tap that gives a list (the levels of an FPN) is one pair: the loss is the mean over levels.
    Connectors are made by :meth:`build_connectors` once the shapes are known.
    """

    def __init__(
        self,
        name: str,
        student: Tap,
        teacher: Tap,
        *,
        loss: nn.Module,
        weight: Schedule,
        temperature: Schedule | None = None,
    ) -> None:
        self.name, self.student, self.teacher = name, student, teacher
        self.loss, self.weight, self.temperature = loss, weight, temperature
        self.connectors = nn.ModuleList()
        self.connector_text = "none"
        self._distributed: list[nn.Module] = []

    @property
    def needs_prediction(self) -> bool:
        """Whether the loss compares decoded head predictions instead of features."""
        return bool(getattr(self.loss, "needs_prediction", False))

    def build_connectors(
        self, config: ConnectorConfig, student: Any, teacher: Any, device: torch.device
    ) -> None:
        """Makes one connector a level from what a dry forward recorded.

        Args:
            config: "auto", None, or the dict of a registered connector; ``in_channels`` and
                ``out_channels`` are filled in where they are absent.
            student: what the student's tap read.
            teacher: what the teacher's tap read.
            device: where the connectors live.

        Raises:
            UserError: the levels differ in number, or no connector joins the shapes.
        """
        if self.needs_prediction:
            if config not in ("auto", None):
                raise UserError(
                    f"pair {self.name!r}: {type(self.loss).__name__} compares decoded predictions "
                    f"and takes no connector, got {config!r}; remove it"
                )
            return
        students, teachers = self._levels(student, teacher)
        built: list[nn.Module] = []
        for s, t in zip(students, teachers, strict=True):
            connector = self._connector(config, s, t)
            built.append(nn.Identity() if connector is None else connector)
        self.connector_text = " ".join(dict.fromkeys(map(_text, built)))
        if any(not isinstance(module, nn.Identity) for module in built):
            self.connectors = nn.ModuleList(built).to(device)

    def distribute(self) -> None:
        """Wraps trainable connectors for DDP; collective, called once on every rank."""
        self._distributed = [
            DistributedDataParallel(module)
            if any(p.requires_grad for p in module.parameters())
            else module
            for module in self.connectors
        ]

    def __call__(
        self,
        student: Any,
        teacher: Any,
        *,
        heads: tuple[nn.Module, nn.Module],
        progress: float,
        local: bool = False,
    ) -> Tensor:
        """The unweighted loss.

        Args:
            student: what the student's tap read.
            teacher: what the teacher's tap read.
            heads: the tapped modules of both, for losses over predictions.
            progress: fraction of training done.
            local: leave DDP out (a check on one rank, without a backward pass).

        Returns:
            Scalar.
        """
        extra = {} if self.temperature is None else {"temperature": self.temperature.at(progress)}
        if self.needs_prediction:
            with torch.no_grad():
                target = dense_prediction(heads[1], teacher)
            loss: Tensor = self.loss(dense_prediction(heads[0], student), target, **extra)
            return loss
        students, teachers = self._levels(student, teacher)
        connectors = self._distributed if self._distributed and not local else self.connectors
        if connectors:
            students = [
                c(s, t) if not isinstance(c, nn.Identity) else s
                for c, s, t in zip(connectors, students, teachers, strict=True)
            ]
        losses = [self.loss(s, t, **extra) for s, t in zip(students, teachers, strict=True)]
        return torch.stack(losses).mean()

    def _levels(self, student: Any, teacher: Any) -> tuple[list[Tensor], list[Tensor]]:
        students, teachers = (
            self._as_levels(student, "student"),
            self._as_levels(teacher, "teacher"),
        )
        if len(students) != len(teachers):
            raise UserError(
                f"pair {self.name!r}: the student's tap {self.student.text!r} has "
                f"{len(students)} levels, the teacher's {self.teacher.text!r} has "
                f"{len(teachers)}; choose levels, such as {self.student.text}[0]\n"
                f"  student {describe(student)}\n  teacher {describe(teacher)}"
            )
        return students, teachers

    def _as_levels(self, value: Any, owner: str) -> list[Tensor]:
        levels = [value] if isinstance(value, Tensor) else value
        if isinstance(levels, list | tuple) and all(isinstance(level, Tensor) for level in levels):
            return list(levels)
        tap = self.student if owner == "student" else self.teacher
        raise UserError(
            f"pair {self.name!r}: {owner} tap {tap.text!r} gives {describe(value)}; expected a "
            f"tensor or a list of tensors, so add an index, such as {tap.text}[0]"
        )

    def _connector(self, config: ConnectorConfig, s: Tensor, t: Tensor) -> nn.Module | None:
        if config is None:
            return None
        if isinstance(config, Mapping):
            settings = copy.deepcopy(dict(config))
            target = CONNECTORS.module_dict.get(settings.get("type"))
            wanted = inspect.signature(target).parameters if target else {}
            axis = -1 if s.ndim == 3 else 1
            for key, tensor in (("in_channels", s), ("out_channels", t)):
                if key in wanted:
                    settings.setdefault(key, tensor.shape[axis])
            built: nn.Module = build(CONNECTORS, settings, where=f"pair {self.name!r}: connector")
            return built
        if config != "auto":
            raise UserError(
                f"pair {self.name!r}: connector must be 'auto', None or dict(type=...), "
                f"got {config!r}"
            )
        try:
            return connector_for(tuple(s.shape), tuple(t.shape))
        except ValueError as error:
            raise UserError(f"pair {self.name!r}: {error}") from None


def pair_from_config(config: Mapping[str, Any]) -> Pair:
    """Builds a pair from its dict in a config; shapes come later.

    Args:
        config: ``name, student, teacher, loss`` and optionally ``weight`` (1.0), ``temperature``,
            ``connector`` ("auto").

    Raises:
        UserError: a key is missing or unknown, or a value cannot be read.
    """
    known = {"name", "student", "teacher", "loss", "weight", "temperature", "connector"}
    name = config.get("name")
    if not isinstance(name, str) or not name.isidentifier():
        raise UserError(f"a pair needs a name of letters, digits and _, got {name!r} in {config}")
    missing = {"student", "teacher", "loss"} - set(config)
    unknown = set(config) - known - {"_scope_"}
    if missing or unknown:
        raise UserError(
            f"pair {name!r}: "
            + (f"missing {sorted(missing)} " if missing else "")
            + (f"unknown {sorted(unknown)} " if unknown else "")
            + f"(a pair has {sorted(known)})"
        )
    loss: nn.Module = build(LOSSES, config["loss"], where=f"pair {name!r}: loss")
    temperature = config.get("temperature")
    if temperature is not None:
        if "temperature" not in inspect.signature(loss.forward).parameters:
            raise UserError(
                f"pair {name!r}: {type(loss).__name__} has no temperature; remove it from the pair"
            )
        temperature = Schedule.of(temperature, where=f"pair {name!r}: temperature")
    return Pair(
        name,
        Tap.parse(config["student"]),
        Tap.parse(config["teacher"]),
        loss=loss,
        weight=Schedule.of(config.get("weight", 1.0), where=f"pair {name!r}: weight"),
        temperature=temperature,
    )


def build(registry: Any, config: Any, *, where: str) -> Any:  # Any: registries are untyped
    """Builds from a registry; a wrong name or argument becomes a UserError that lists the names.

    Raises:
        UserError: no ``type``, an unknown one, or arguments it does not take.
    """
    names = sorted(registry.module_dict)
    if not isinstance(config, Mapping) or "type" not in config:
        raise UserError(f"{where}: expected dict(type=...) with one of {names}, got {config!r}")
    settings = {key: value for key, value in config.items() if key != "_scope_"}
    if settings["type"] not in names:
        raise UserError(f"{where}: no type {settings['type']!r}; there are {names}")
    try:
        with DefaultScope.overwrite_default_scope("kd3d"):
            return registry.build(settings)
    except (TypeError, ValueError) as error:
        raise UserError(f"{where}: {config!r} cannot be built: {error}") from None


def _text(module: nn.Module) -> str:
    return "none" if isinstance(module, nn.Identity) else " ".join(str(module).split())
