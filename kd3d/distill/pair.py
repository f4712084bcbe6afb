"""The Pair: student tap, teacher tap, connector, mask, loss, weight and temperature."""

import copy
import inspect
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from kd3d.bev_grid import BevGrid
from kd3d.configs import type_name
from kd3d.connectors import connector_for
from kd3d.distill.build_part import build_part
from kd3d.distill.known_frames import KnownFrames
from kd3d.distill.pair_mask import PairMask
from kd3d.distill.recorder import Tap, describe, tensors_in
from kd3d.distill.scene import Scene, grids
from kd3d.distill.schedules import Schedule
from kd3d.distill.truth import NAMES
from kd3d.errors import UserError
from kd3d.heads import prediction_of
from kd3d.registry import CONNECTORS

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
        mask: where the loss looks; None for everywhere.

    A tap that gives a list (the levels of an FPN) is one pair: the loss is the mean over levels.
    Connectors are made by :meth:`build_connectors` once the shapes are known. What the ``forward``
    of loss and connector names is passed to them: ``temperature, mask, boxes, labels, labelled,
    student_grid, teacher_grid, student_range``. The student's grid is that of the map the loss is
    given, which a connector may have brought to the teacher's cells; its range is the grid it had
    before, so what the student sees. A loss that names the range leaves out what lies beyond it;
    to all others that take a mask, it is 0 there.

    Where loss or mask say ``needs_boxes``, only frames are compared of which somebody says what is
    there: labelled ones, however empty, and those that got the teacher's boxes as labels. The loss
    is the mean over these; 0 where a batch has none, with a graph, as DDP wants it.

    Raises:
        UserError: a mask for a loss that takes none.
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
        mask: PairMask | None = None,
    ) -> None:
        self.name, self.student, self.teacher = name, student, teacher
        self.loss, self.weight, self.temperature = loss, weight, temperature
        self.mask = mask
        self.connectors = nn.ModuleList()
        self.connector_text = "none"
        self._distributed: list[nn.Module] = []
        self._wanted = parameters_of(loss)
        if mask is not None and not self.takes_mask:
            raise UserError(
                f"pair {name!r}: {type(loss).__name__} takes no mask; remove it from the pair, or "
                "choose a loss that does"
            )

    @property
    def teacher_taps(self) -> list[Tap]:
        """All that has to be read from the teacher."""
        guide = None if self.mask is None else self.mask.teacher
        return [self.teacher] if guide is None else [self.teacher, guide]

    @property
    def takes_mask(self) -> bool:
        """Whether the loss can leave positions out."""
        return "mask" in self._wanted

    @property
    def leaves_out_beyond(self) -> bool:
        """Whether places that the student does not see have no say in the loss."""
        return self.takes_mask or "student_range" in self._wanted

    def inside(
        self, level: int, named: Mapping[str, BevGrid], device: torch.device | None = None
    ) -> Tensor | None:
        """(1, 1, H, W): 1 where the student's map reaches; None where no grid is aligned."""
        connector: Any = self.connectors[level] if len(self.connectors) else None
        if not named or not hasattr(connector, "inside"):
            return None
        covered: Tensor = connector.inside(**named, device=device)
        return covered

    @property
    def needs_truth(self) -> bool:
        """Whether the loss or the mask reads boxes, labels, or which frames are labelled."""
        wanted = self._wanted | (set() if self.mask is None else self.mask.wanted)
        return bool(wanted & NAMES)

    @property
    def needs_boxes(self) -> bool:
        """Whether frames of unknown boxes cannot be compared, by what loss or mask say."""
        parts = [self.loss] if self.mask is None else [self.loss, self.mask.module]
        return any(getattr(part, "needs_boxes", False) for part in parts)

    @property
    def needs_prediction(self) -> bool:
        """Whether the loss compares decoded head predictions instead of features."""
        return bool(getattr(self.loss, "needs_prediction", False))

    @property
    def by_class_number(self) -> bool:
        """Whether class k of the student is compared with class k of the teacher, whatever it is.

        Of features, those of heads are; a loss may match classes by their names.
        """
        if self.needs_prediction:
            return not getattr(self.loss, "matches_names", False)
        return "head" in self.teacher.module

    def build_connectors(
        self,
        config: ConnectorConfig,
        student: Any,
        teacher: Any,
        device: torch.device,
        scene: Scene | None = None,
    ) -> None:
        """Makes one connector a level from what a dry forward recorded.

        Args:
            config: "auto", None, or the dict of a registered connector; ``in_channels`` and
                ``out_channels`` are filled in where they are absent.
            student: what the student's tap read.
            teacher: what the teacher's tap read.
            device: where the connectors live.
            scene: says what BEV maps cover.

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
            connector = self._connector(config, s, t, grids(s, t, scene or Scene()))
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
        scene: Scene | None = None,
    ) -> Tensor:
        """The unweighted loss.

        Args:
            student: what the student's tap read.
            teacher: what the teacher's tap read.
            heads: the tapped modules of both, for losses over predictions.
            progress: fraction of training done.
            local: leave DDP out (a check on one rank, without a backward pass).
            scene: what the parts may ask for besides.

        Returns:
            Scalar.
        """
        scene = scene or Scene()
        frames = KnownFrames(scene.truth if self.needs_boxes else None, f"pair {self.name!r}")
        given = {} if self.temperature is None else {"temperature": self.temperature.at(progress)}
        if self.needs_prediction:
            return self._of_predictions(student, teacher, heads, given, scene, frames)
        students, teachers = self._levels(student, teacher)
        connectors = self._distributed if self._distributed and not local else self.connectors
        losses = []
        for level, (s, t) in enumerate(zip(students, teachers, strict=True)):
            named = grids(s, t, scene)
            inside = self.inside(level, named, s.device) if self.takes_mask else None
            seen = named.get("student_grid")
            if connectors and not isinstance(self.connectors[level], nn.Identity):
                own = self.connectors[level]
                s = connectors[level](s, t, **_chosen(named, parameters_of(own)))
                named = grids(s, t, scene)
                if named and hasattr(own, "inside"):  # it has brought the map to the other grid
                    named["student_grid"] = named["teacher_grid"]
            if seen is not None:
                named["student_range"] = seen
            s, t = frames.of(s), frames.of(t)
            losses.append(self._compared(s, t, {**given, **named}, scene, frames, inside))
        return torch.stack(losses).mean()

    def _of_predictions(
        self,
        student: Any,
        teacher: Any,
        heads: tuple[nn.Module, nn.Module],
        given: dict[str, Any],
        scene: Scene,
        frames: KnownFrames,
    ) -> Tensor:
        named = grids(student, teacher, scene)
        student, teacher = frames.of(student), frames.of(teacher)
        with torch.no_grad():
            target = prediction_of(heads[1], teacher, grid=named.get("teacher_grid"))
        own = prediction_of(heads[0], student, grid=named.get("student_grid"))
        like = tensors_in(teacher)[0]
        return self._compared(own, target, {**given, **named}, scene, frames, None, like=like)

    def _compared(
        self,
        student: Any,
        teacher: Any,
        named: dict[str, Any],
        scene: Scene,
        frames: KnownFrames,
        inside: Tensor | None,
        like: Tensor | None = None,
    ) -> Tensor:
        """One level, with what the loss asks for; ``like`` has the shape a mask covers."""
        mask = None
        named = {"student_grid": None, "teacher_grid": None, **named}  # of images: they say so
        if scene.truth is not None:
            named = {**named, **scene.truth.named()}
        if self.mask is not None:  # of all frames, as the guide is
            mask = frames.of(self.mask(teacher if like is None else like, named, scene.guide))
        if scene.truth is not None:
            named = {**named, **frames.named(scene.truth)}
        # a loss that knows the range chooses its places itself, where no mask says which
        if inside is not None and (mask is not None or "student_range" not in self._wanted):
            inside = inside.expand(len(student), -1, -1, -1)
            mask = inside if mask is None else mask * inside
        if mask is not None:
            named = {**named, "mask": mask}
        loss: Tensor = self.loss(student, teacher, **_chosen(named, self._wanted))
        return loss * 0.0 if frames.none else loss

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
        first = next(iter(value), 0) if isinstance(value, dict) else 0
        raise UserError(
            f"pair {self.name!r}: {owner} tap {tap.text!r} gives {describe(value)}; expected a "
            f"tensor or a list of tensors, so add an index, such as {tap.text}[{first}]"
        )

    def _connector(
        self, config: ConnectorConfig, s: Tensor, t: Tensor, named: Mapping[str, BevGrid]
    ) -> nn.Module | None:
        if config is None:
            return None
        if isinstance(config, Mapping):
            settings = copy.deepcopy(dict(config))
            target = CONNECTORS.module_dict.get(type_name(settings))
            wanted = inspect.signature(target).parameters if target else {}
            axis = -1 if s.ndim == 3 else 1
            for key, tensor in (("in_channels", s), ("out_channels", t)):
                if key in wanted:
                    settings.setdefault(key, tensor.shape[axis])
            where = f"pair {self.name!r}: connector"
            built: nn.Module = build_part(CONNECTORS, settings, where=where)
            return built
        if config != "auto":
            raise UserError(
                f"pair {self.name!r}: connector must be 'auto', None or dict(type=...), "
                f"got {config!r}"
            )
        try:
            return connector_for(tuple(s.shape), tuple(t.shape), **named)
        except ValueError as error:
            raise UserError(f"pair {self.name!r}: {error}") from None


def parameters_of(module: nn.Module) -> set[str]:
    """Names that a module's ``forward`` takes."""
    return set(inspect.signature(module.forward).parameters)


def _chosen(named: Mapping[str, Any], wanted: set[str]) -> dict[str, Any]:
    return {name: value for name, value in named.items() if name in wanted}


def _text(module: nn.Module) -> str:
    return "none" if isinstance(module, nn.Identity) else " ".join(str(module).split())
