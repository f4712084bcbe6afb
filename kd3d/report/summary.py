"""From records to what is compared: one group of runs a role, and the gap that was closed.

Runs are compared by one metric: NDS where any of them has it, otherwise AP.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean, stdev

from kd3d.errors import UserError
from kd3d.evaluation.gap import GapClosed, gap_closed
from kd3d.report.record import HEADLINES, ROLES, Record

WALL_CLOCK = "-wall-clock"  # suffix of a twin trained for as long as the distilled run took
VARIANT = "variant-"  # prefix of a distilled run with other pairs, for an ablation
NO_SEED = -1
STUDENTS = ("baseline", "control", "distilled")
MAIN_ROLES = ("teacher", *STUDENTS)
PICTURED_ROLES = ("teacher", "baseline", "distilled")
_ROLE_ORDER = tuple(key for role in ROLES for key in (role, f"{role}{WALL_CLOCK}"))
_BACKEND_ORDER = ("tensorrt", "onnxruntime", "pytorch")


@dataclass(frozen=True)
class Statistic:
    """Mean and sample deviation of one metric over seeds; ``std`` is None below two seeds."""

    mean: float
    std: float | None


@dataclass(frozen=True)
class Group:
    """All runs of one role at one schedule: a row of the table.

    Attributes:
        key: "teacher", "baseline", "control", "distilled", such a role with "-wall-clock",
            "variant-<name>" of the distilled role, or the run's name where its role is unknown.
        role: one of the record's roles.
        runs: seed -> accuracy record (``NO_SEED`` where the record has none).
        folders: seed -> folder of that record.
        latency: backend, perhaps with precision, settings and host ("tensorrt-int8-batch4-on-orin")
            -> latency record of this role.
        export: export record of this role, if there is one.
        training: seed -> training record.
    """

    key: str
    role: str
    runs: dict[int, Record]
    folders: dict[int, Path]
    latency: dict[str, Record] = field(default_factory=dict)
    export: Record | None = None
    training: dict[int, Record] = field(default_factory=dict)

    @property
    def label(self) -> str:
        """The key in words."""
        words = self.key.replace(WALL_CLOCK, ", equal wall clock") or "unknown"
        return words.removeprefix(VARIANT)

    @property
    def is_main(self) -> bool:
        """Whether these are the runs of their role that are compared: no variant of them."""
        return self.key == self.role

    @property
    def parameters(self) -> int | None:
        """Of the model of any run: they share one architecture."""
        return next(iter(self.runs.values())).parameters

    def values(self, metric: str) -> dict[int, float]:
        """Seed -> value in percent, of the runs that have it."""
        return {
            seed: run.metrics[metric] for seed, run in self.runs.items() if metric in run.metrics
        }

    def statistic(self, metric: str) -> Statistic | None:
        """Mean and deviation over seeds; None where no run has the metric."""
        return _statistic(list(self.values(metric).values()))

    def training_mean(self, metric: str) -> float | None:
        """Of what the training records hold, over seeds; None where none has the metric."""
        records = self.training.values()
        found = _statistic([r.metrics[metric] for r in records if metric in r.metrics])
        return None if found is None else found.mean

    def first_predictions(self) -> Path | None:
        """The predictions beside the first seed's record; None if they are not there."""
        seed, record = next(iter(self.runs.items()))
        path = self.folders[seed] / record.files.get("predictions", "")
        return path if path.is_file() else None

    def class_ap(self) -> dict[str, float]:
        """Class -> AP in percent, mean over seeds."""
        names = dict.fromkeys(name for run in self.runs.values() for name in run.per_class)
        found = {
            name: [
                run.per_class[name]["AP"]
                for run in self.runs.values()
                if "AP" in run.per_class.get(name, {})
            ]
            for name in names
        }
        return {name: mean(values) for name, values in found.items() if values}


@dataclass(frozen=True)
class Summary:
    """What the records say.

    Attributes:
        groups: by key, in the order teacher, baseline, control, distilled, others.
        gaps: reference key ("baseline", "control", with "-wall-clock") -> gap closed by the
            distilled student; empty where ``refusal`` says why no gain may be shown.
        refusal: "no gain shown: ...", or empty.
        variants: key of a distilled variant -> its own gaps, as ``gaps``.
    """

    groups: dict[str, Group]
    gaps: dict[str, GapClosed]
    refusal: str
    variants: dict[str, dict[str, GapClosed]] = field(default_factory=dict)

    @property
    def metric(self) -> str:
        """The metric that ranks all runs, in percent: "NDS" where one has it, else "AP"."""
        return _metric(self.groups.values())

    @property
    def is_synthetic(self) -> bool:
        """Whether any accuracy was measured on a made-up world."""
        return any(
            run.dataset.get("synthetic") == "yes"
            for group in self.groups.values()
            for run in group.runs.values()
        )

    @property
    def latency_backend(self) -> str:
        """The measurement nearest to the vehicle that any group has, or empty.

        A vehicle comes before this machine, then TensorRT before ONNX Runtime before PyTorch;
        among precisions the one that most groups share, so that they can be compared, and of
        these fp32, whose name is the shortest.
        """
        timed = Counter(name for group in self.groups.values() for name in group.latency)
        return min(timed, key=lambda name: (*_nearness(name), -timed[name], len(name)), default="")


def summarize(records: Mapping[Path, Record]) -> Summary:
    """Groups records by role and compares the distilled student with its twins.

    Accuracy counts where it was measured in PyTorch; records of other backends
    (``conditions["backend"]``) stay out of the comparison.

    Raises:
        UserError: if two accuracy records claim the same role and seed.
    """
    runs: dict[str, dict[int, tuple[Path, Record]]] = {}
    for path, record in records.items():
        if record.kind != "accuracy" or record.conditions.get("backend", "pytorch") != "pytorch":
            continue
        seeds = runs.setdefault(_key(record), {})
        seed = NO_SEED if record.seed is None else record.seed
        if seed in seeds:
            raise UserError(
                f"{path}: {_key(record)!r} with seed {record.seed} stands already in "
                f"{seeds[seed][0]}; report one recipe at a time"
            )
        seeds[seed] = (path, record)
    groups = [_group(key, seeds, records) for key, seeds in runs.items()]
    groups.sort(key=lambda g: _ROLE_ORDER.index(g.key) if g.key in _ROLE_ORDER else 99)
    by_key = {group.key: group for group in groups}
    refusal = _refusal(by_key)
    if refusal:
        return Summary(by_key, {}, refusal)
    variants = {key: _gaps(by_key, key) for key in by_key if key.startswith(VARIANT)}
    return Summary(by_key, _gaps(by_key, "distilled"), "", variants)


def _nearness(name: str) -> tuple[bool, int]:
    """Smaller is nearer to the vehicle."""
    backend = name.partition("-")[0]
    order = _BACKEND_ORDER.index(backend) if backend in _BACKEND_ORDER else len(_BACKEND_ORDER)
    return "-on-" not in name, order


def split_of(record: Record) -> str:
    """What an accuracy was measured on: the annotation file, or the split of a nuScenes root."""
    dataset = record.dataset
    if "data_root" in dataset:
        split, version = dataset.get("split", ""), dataset.get("version", "")
        return f"{split} of {dataset['data_root']} ({version})"
    return dataset.get("ann_file", "")


def _metric(groups: Iterable[Group]) -> str:
    present = {name for group in groups for run in group.runs.values() for name in run.metrics}
    return next((name for name in HEADLINES if name in present), HEADLINES[-1])


def _statistic(values: list[float]) -> Statistic | None:
    if not values:
        return None
    return Statistic(mean(values), stdev(values) if len(values) > 1 else None)


def _key(record: Record) -> str:
    if not record.role:
        return record.name
    first = record.name.split("/")[0]
    variant = record.role == "distilled" and first.startswith(VARIANT)
    return first if variant or first == f"{record.role}{WALL_CLOCK}" else record.role


def _group(
    key: str, seeds: Mapping[int, tuple[Path, Record]], records: Mapping[Path, Record]
) -> Group:
    role = next(iter(seeds.values()))[1].role
    same = {path: record for path, record in records.items() if _key(record) == key}
    return Group(
        key=key,
        role=role,
        runs={seed: seeds[seed][1] for seed in sorted(seeds)},
        folders={seed: seeds[seed][0].parent for seed in sorted(seeds)},
        latency={
            path.stem.removeprefix("record-latency-"): record
            for path, record in same.items()
            if record.kind == "latency"
        },
        export=next((record for record in same.values() if record.kind == "export"), None),
        training={
            NO_SEED if record.seed is None else record.seed: record
            for record in same.values()
            if record.kind == "training"
        },
    )


def _refusal(groups: Mapping[str, Group]) -> str:
    """Why no gain may be shown; empty where distilled, teacher and both twins can be compared."""
    if "distilled" not in groups:
        return "no gain shown: no distilled run"
    missing = [key for key in ("teacher", "baseline", "control") if key not in groups]
    if missing:
        return f"no gain shown: {' and '.join(missing)} missing"
    variants = [key for key in groups if key.startswith(VARIANT)]
    compared = {key: groups[key] for key in (*MAIN_ROLES, *variants)}
    metric = _metric(groups.values())
    without = [key for key, group in compared.items() if not group.values(metric)]
    if without:
        return f"no gain shown: {' and '.join(without)} without an {metric}"
    splits = {
        key: {split_of(run) for run in group.runs.values()} for key, group in compared.items()
    }
    if len(set.union(*splits.values())) > 1:
        return f"no gain shown: tested on different splits ({_listed(splits)})"
    sizes = {key: groups[key].parameters for key in (*STUDENTS, *variants)}
    if len(set(sizes.values())) > 1:
        return f"no gain shown: the students differ in parameters ({_listed(sizes)})"
    return ""


def _listed(values: Mapping[str, object]) -> str:
    return ", ".join(
        f"{key}: {', '.join(sorted(value)) if isinstance(value, set) else value}"
        for key, value in values.items()
    )


def _gaps(groups: Mapping[str, Group], distilled: str) -> dict[str, GapClosed]:
    metric = _metric(groups.values())
    teacher = groups["teacher"].statistic(metric)
    assert teacher is not None, "_refusal has checked it"
    references = [f"{role}{suffix}" for suffix in ("", WALL_CLOCK) for role in STUDENTS[:2]]
    ours = groups[distilled].values(metric)
    return {
        key: gap_closed(ours, groups[key].values(metric), teacher.mean)
        for key in references
        if key in groups
    }
