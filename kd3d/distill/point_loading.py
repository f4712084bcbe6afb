"""Whether a teacher of points can read what the student's pipeline loads."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mmengine.config import Config
from torch import nn

from kd3d.configs import type_name
from kd3d.distill.bev_extent import point_cloud_range
from kd3d.errors import UserError

Step = Mapping[str, Any]
_TIME = 4  # where LoadPointsFromMultiSweeps of mmdet3d 1.4 writes a point's age


def check_point_loading(
    student: Config, teacher: Config, models: tuple[nn.Module, nn.Module]
) -> list[str]:
    """Compares the two configs' pipelines and the models' ranges.

    Args:
        student: the config that trains.
        teacher: the config that the teacher was trained from; it may hold a model alone.
        models: student and teacher, built.

    Returns:
        What is not as it was when the teacher was trained, one line each.

    Raises:
        UserError: a point holds other values, or more or fewer, than the teacher reads.
    """
    own, other = _steps(student, "train"), _steps(teacher, "train") or _steps(teacher, "test")
    values, wanted = _values(own), _values(other)
    count = values_read(models[1])
    if values and wanted and values != wanted:
        advice = "make use_dim of LoadPointsFromFile and LoadPointsFromMultiSweeps equal"
        if ("time" in values) != ("time" in wanted):  # without it, the ring would be read as time
            advice = "let both pipelines have LoadPointsFromMultiSweeps, with sweeps_num=0 for none"
        raise UserError(
            f"the student's pipeline loads the values {list(values)} of each point, the teacher "
            f"was trained on {list(wanted)}; choose a teacher of the same points, or {advice}"
        )
    if values and count is not None and len(values) != count:
        raise UserError(
            f"the student's pipeline loads {len(values)} values a point (use_dim), the teacher's "
            f"voxel encoder reads {count}; choose a teacher of the same points"
        )
    return [*_about_range(own, models[1]), *_about_sweeps(own, other)]


def values_read(model: nn.Module) -> int | None:
    """How many values of a point the model's voxel encoder reads; None where that is unknown."""
    for name in ("pts_voxel_encoder", "voxel_encoder"):
        encoder: Any = getattr(model, name, None)
        if encoder is None:
            continue
        if hasattr(encoder, "num_features"):
            return int(encoder.num_features)
        if hasattr(encoder, "_with_cluster_center"):
            added = 3 * encoder._with_cluster_center + 3 * encoder._with_voxel_center
            return int(encoder.in_channels - added - encoder._with_distance)
    return None


def pipelines(node: Any) -> Iterator[Sequence[Step]]:  # Any: nested config values
    """Every ``pipeline`` list below a data loader's config, outermost first."""
    if isinstance(node, Mapping):
        if isinstance(node.get("pipeline"), list | tuple):
            yield node["pipeline"]
        for key, value in node.items():
            if key != "pipeline":
                yield from pipelines(value)
    elif isinstance(node, list | tuple):
        for value in node:
            yield from pipelines(value)


def flat_steps(steps: Sequence[Step | Sequence[Step]]) -> Iterator[Step]:
    """The transforms of a pipeline, those inside of wrappers included."""
    for step in steps:
        if not isinstance(step, Mapping):  # one of the pipelines that RandomChoice chooses from
            yield from flat_steps(step)
            continue
        yield step
        if isinstance(step.get("transforms"), list | tuple):
            yield from flat_steps(step["transforms"])


def _steps(config: Config, stage: str) -> list[Step]:
    found = next(pipelines(config.get(f"{stage}_dataloader")), ())
    return list(flat_steps(found))


def _values(steps: Sequence[Step]) -> tuple[int | str, ...]:
    """Which of the file's values are left of a point; "time" where its age took the place of one.

    With earlier sweeps, or none of them, MultiSweeps writes how old a point is over what the file
    has there, the number of the ring in nuScenes.
    """
    values: tuple[int | str, ...] = ()
    for step in steps:
        kind = type_name(step)
        if kind == "LoadPointsFromFile":
            values = _indices(step.get("use_dim", 3))
        elif kind == "LoadPointsFromMultiSweeps" and values:
            kept = _indices(step.get("use_dim", (0, 1, 2, 4)))
            values = tuple("time" if i == _TIME else values[i] for i in kept)
    return values


def _indices(use_dim: Any) -> tuple[int, ...]:
    return tuple(range(use_dim)) if isinstance(use_dim, int) else tuple(use_dim)


def _about_range(steps: Sequence[Step], teacher: nn.Module) -> list[str]:
    extent = point_cloud_range(teacher)
    if extent is None:
        return []
    for step in steps:
        if type_name(step) != "PointsRangeFilter":
            continue
        kept = [float(value) for value in step["point_cloud_range"]]
        lower = any(k > e for k, e in zip(kept[:3], extent[:3], strict=True))
        if lower or any(k < e for k, e in zip(kept[3:], extent[3:], strict=True)):
            return [
                f"the teacher sees {_span(extent)}, the student's PointsRangeFilter lets through "
                f"{_span(kept)}: beyond, the teacher finds nothing; widen the filter to the "
                "teacher's range (the student's voxels leave out what it does not see)"
            ]
    return []


def _span(extent: Sequence[float]) -> str:
    (x0, y0, z0), (x1, y1, z1) = extent[:3], extent[3:]
    return f"x {x0:g} to {x1:g} m, y {y0:g} to {y1:g} m, z {z0:g} to {z1:g} m"


def _about_sweeps(own: Sequence[Step], other: Sequence[Step]) -> list[str]:
    counts = [
        [s.get("sweeps_num", 10) for s in steps if type_name(s) == "LoadPointsFromMultiSweeps"]
        for steps in (own, other)
    ]
    if not own or not other or counts[0] == counts[1]:
        return []
    mine, its = (sum(count) for count in counts)
    return [
        f"the student's pipeline adds {mine} earlier sweeps, the teacher was trained with {its}: "
        "it sees points of another density"
    ]
