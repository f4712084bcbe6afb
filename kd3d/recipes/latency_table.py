"""Predicted latency of every detector that some configs name, students and teachers."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from mmengine.config import Config

from kd3d.configs import distill_hooks, load_config
from kd3d.distill.teacher import drop_pretrained
from kd3d.errors import UserError
from kd3d.export.detector import build_detector
from kd3d.export.graphs.shape_graph import uninitialised
from kd3d.profiling.devices import load_device
from kd3d.profiling.roofline import Prediction, predict_latency
from kd3d.recipes.student_cost import student_graph


@dataclass(frozen=True, kw_only=True)
class DetectorLatency:
    """One detector's row.

    Attributes:
        names: of the configs that have it.
        parameters_m: millions.
        input: what was assumed.
        predictions: one for each device and precision that was asked for; none if ``reason``.
        reason: why it cannot be exported; "" if it can.
    """

    names: tuple[str, ...]
    parameters_m: float
    input: str
    predictions: tuple[Prediction, ...]
    reason: str

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the predictor had to assume, each once."""
        return tuple(dict.fromkeys(text for p in self.predictions for text in p.warnings))


def detector_latencies(
    paths: Sequence[Path], devices: Sequence[str], precisions: Sequence[str]
) -> Iterator[DetectorLatency]:
    """Each different detector of the configs and of the teachers that they name.

    Args:
        paths: config files.
        devices: "NAME" or "NAME:MODE".
        precisions: "fp32", "fp16", "int8".
    """
    boards = [load_device(name) for name in devices]
    for names, config in _detectors(paths):
        drop_pretrained(config.model)
        detector = uninitialised(lambda config=config: build_detector(config))  # type: ignore[misc]
        parameters_m = sum(parameter.numel() for parameter in detector.parameters()) / 1e6
        try:
            graph, given = student_graph(detector, config)
        except UserError as error:
            yield DetectorLatency(
                names=names,
                parameters_m=parameters_m,
                input="",
                predictions=(),
                reason=str(error),
            )
            continue
        yield DetectorLatency(
            names=names,
            parameters_m=parameters_m,
            input=given,
            predictions=tuple(
                predict_latency(graph, board, precision=precision)
                for board in boards
                for precision in precisions
            ),
            reason="",
        )


def markdown(rows: Sequence[DetectorLatency], heads: Sequence[str]) -> str:
    """The rows as a table, the shortest name for each with the number of others.

    Args:
        rows: at least one.
        heads: of the predictions' columns.
    """
    titles = ["detector", "input", "M parameters", "GFLOPs", *(f"{head}, ms" for head in heads)]
    lines = [f"| {' | '.join(titles)} |", "|" + "---|" * len(titles)]
    for row in rows:
        cells = [_name(row.names), row.input, f"{row.parameters_m:.2f}"]
        if row.reason:
            cells += ["", "cannot be exported", *[""] * (len(heads) - 1)]
        else:
            cells.append(f"{row.predictions[0].gflops:.1f}")
            cells += [
                f"{p.total_ms:.1f} ({p.low_ms:.1f} to {p.high_ms:.1f})" for p in row.predictions
            ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _name(names: Sequence[str]) -> str:
    more = f" and {len(names) - 1} more" if len(names) > 1 else ""
    return f"`{min(names, key=len)}`{more}"


def _detectors(paths: Sequence[Path]) -> list[tuple[tuple[str, ...], Config]]:
    """Different models, each with the names of its configs; what only trains otherwise is one."""
    found: dict[str, tuple[list[str], Config]] = {}
    for path in paths:
        config = load_config(path)
        teachers = [
            (Path(hook["teacher"]["config"].rpartition("::")[2]).stem, hook["teacher"]["config"])
            for hook in distill_hooks(config)
            if "config" in (hook.get("teacher") or {})
        ]
        for name, source in [(path.stem, None), *teachers]:
            detector = load_config(source) if source else config
            key = json.dumps([detector.model, detector.get("test_pipeline")], default=str)
            names, _ = found.setdefault(key, ([], detector))
            if name not in names:
                names.append(name)
    return [(tuple(names), config) for names, config in found.values()]
