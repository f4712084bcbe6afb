"""What may vary in a student: its family's knobs, and the config that a choice of them gives."""

import copy
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from mmengine.config import Config

from kd3d.configs import type_name
from kd3d.distill.teacher import is_pretrained
from kd3d.errors import UserError
from kd3d.recipes.student_input import scale_input
from kd3d.recipes.student_pillars import apply_pillars, pillar_knobs, pillar_start

Choice = Mapping[str, float]
Knobs = dict[str, tuple[float, ...]]

SUPPORTED = (
    "single-stage detectors of mmdet with a ResNet and FPN (RetinaNet, GFL, ATSS, FCOS), with a "
    "CSPNeXt or CSPDarknet (RTMDet, YOLOX), and pillar detectors of mmdet3d with SECOND and "
    "SECONDFPN (CenterPoint, PointPillars)"
)
_INPUT = (0.5, 0.625, 0.75, 0.875, 1.0)
_NECK = (32, 48, 64, 96, 128, 160, 192, 224, 256)
_RESNET_WIDTH = (16, 24, 32, 40, 48, 56, 64)
_DEPTHS = (18, 34, 50, 101)
_WIDEN = (0.25, 0.375, 0.5, 0.625, 0.75, 0.875, 1.0)
_DEEPEN = (0.167, 0.33, 0.5, 0.67, 1.0)


@dataclass(frozen=True)
class Family:
    """The students that one config can become.

    Attributes:
        name: for people and for the name of a study.
        knobs: their values, from the smallest network to the largest.
        start: the choice that leaves the config as it is.
        apply: changes a config in place.
    """

    name: str
    knobs: Knobs
    start: Choice
    apply: Callable[[Config, Choice], None]

    def config(self, base: Config, choice: Choice) -> Config:
        """The student of a choice: a changed copy of ``base``."""
        changed = copy.deepcopy(base)
        self.apply(changed, choice)
        return changed

    @property
    def smallest(self) -> dict[str, float]:
        """Every knob at its first value."""
        return {name: values[0] for name, values in self.knobs.items()}

    def with_fixed(self, fixed: Choice) -> "Family":
        """The same with some knobs at one value.

        Raises:
            UserError: for an unknown knob, or a value that it does not take.
        """
        knobs = dict(self.knobs)
        for name, value in fixed.items():
            if name not in knobs:
                raise UserError(f"--fix {name}: the knobs of {self.name} are {', '.join(knobs)}")
            if value not in knobs[name]:
                listed = ", ".join(f"{known:g}" for known in knobs[name])
                raise UserError(f"--fix {name}={value:g}: expected one of {listed}")
            knobs[name] = (value,)
        return Family(self.name, knobs, {**self.start, **fixed}, self.apply)


def family_of(config: Config) -> Family:
    """The family of a config's detector.

    Raises:
        UserError: for a detector of no family.
    """
    model = config.model
    backbone = type_name(model.get("backbone") or model.get("pts_backbone")) or "none"
    neck = type_name(model.get("neck") or model.get("pts_neck")) or "none"
    head = model.get("bbox_head") or {}
    single = isinstance(head, Mapping) and "stacked_convs" in head
    if backbone == "SECOND" and neck.endswith("SECONDFPN"):
        return _family("SECOND pillars", pillar_knobs(config), pillar_start(config), apply_pillars)
    if single and backbone == "ResNet" and neck.endswith("FPN"):
        return _family("ResNet", _resnet_knobs(config), _resnet_start(config), _apply_resnet)
    if single and backbone in ("CSPNeXt", "CSPDarknet") and neck.endswith("PAFPN"):
        return _family("CSP", _csp_knobs(config), _csp_start(config), _apply_csp)
    raise UserError(
        f"{config.filename}: a {type_name(model)} with backbone {backbone} and neck {neck} "
        f"belongs to no family that can be searched; supported are {SUPPORTED}"
    )


def _family(
    name: str, knobs: Knobs, start: dict[str, float], apply: Callable[[Config, Choice], None]
) -> Family:
    """With the config's own values among those of its knobs."""
    joined = {knob: tuple(sorted({*values, start[knob]})) for knob, values in knobs.items()}
    return Family(name, joined, start, apply)


def _resnet_start(config: Config) -> dict[str, float]:
    model = config.model
    return {
        "input": 1.0,
        "depth": model.backbone.depth,
        "width": model.backbone.get("base_channels", 64),
        "neck": model.neck.out_channels,
        "head": model.bbox_head.stacked_convs,
    }


def _resnet_knobs(config: Config) -> Knobs:
    start = _resnet_start(config)
    return {
        "input": _INPUT,
        "depth": tuple(depth for depth in _DEPTHS if depth <= max(start["depth"], 50)),
        "width": _RESNET_WIDTH,
        "neck": _neck_widths(config),
        "head": tuple(range(1, max(int(start["head"]), 4) + 1)),
    }


def _neck_widths(config: Config) -> tuple[int, ...]:
    """Those that the groups of the head's norms divide."""
    import mmdet.models  # noqa: F401  (registers the heads)
    from mmdet.registry import MODELS

    head = config.model.bbox_head
    norm = head.get("norm_cfg")
    if "norm_cfg" not in head:
        kind = MODELS.get(type_name(head))
        norm = inspect.signature(kind.__init__).parameters.get("norm_cfg")
        norm = None if norm is None or norm.default is norm.empty else norm.default
    groups = (norm or {}).get("num_groups", 1)
    return tuple(width for width in _NECK if width % groups == 0)


def _apply_resnet(config: Config, choice: Choice) -> None:
    backbone = config.model.backbone
    depth, width = int(choice["depth"]), int(choice["width"])
    own = (backbone.depth, backbone.get("base_channels", 64))
    if (depth, width) != own:
        backbone.depth = depth
        if width != 64 or own[1] != 64:
            backbone.base_channels = backbone.stem_channels = width
        _weights_of_resnet(backbone, depth, width)
        grows = 1 if depth < 50 else 4
        stages = backbone.get("out_indices", (0, 1, 2, 3))
        config.model.neck.in_channels = [width * 2**stage * grows for stage in stages]
    _apply_head(config, choice)
    scale_input(config, choice["input"])


def _weights_of_resnet(backbone: Any, depth: int, width: int) -> None:  # Any: a config dict
    """ImageNet's where there are some of this size; else nothing is frozen."""
    pretrained = is_pretrained(backbone.get("init_cfg"))
    if pretrained and width == 64:
        backbone.init_cfg.checkpoint = f"torchvision://resnet{depth}"
        return
    if pretrained:
        backbone.init_cfg = None
        backbone.frozen_stages, backbone.norm_eval = -1, False


def _apply_head(config: Config, choice: Choice) -> None:
    neck, head = int(choice["neck"]), config.model.bbox_head
    config.model.neck.out_channels = head.in_channels = neck
    head.feat_channels = neck
    head.stacked_convs = int(choice["head"])


def _csp_start(config: Config) -> dict[str, float]:
    model = config.model
    return {
        "input": 1.0,
        "width": model.backbone.get("widen_factor", 1.0),
        "depth": model.backbone.get("deepen_factor", 1.0),
        "neck": model.neck.out_channels,
        "head": model.bbox_head.stacked_convs,
    }


def _csp_knobs(config: Config) -> Knobs:
    heads = tuple(range(1, max(int(_csp_start(config)["head"]), 2) + 1))
    return {
        "input": _INPUT,
        "width": _WIDEN,
        "depth": _DEEPEN,
        "neck": _neck_widths(config),
        "head": heads,
    }


def _apply_csp(config: Config, choice: Choice) -> None:
    backbone, neck = config.model.backbone, config.model.neck
    own = _csp_start(config)
    if (choice["width"], choice["depth"]) != (own["width"], own["depth"]):
        backbone.widen_factor, backbone.deepen_factor = choice["width"], choice["depth"]
        neck.in_channels = [int(width * choice["width"]) for width in (256, 512, 1024)]
        neck.num_csp_blocks = max(round(3 * choice["depth"]), 1)
        if "init_cfg" in backbone:
            backbone.init_cfg = None  # weights of another size
    _apply_head(config, choice)
    scale_input(config, choice["input"])
