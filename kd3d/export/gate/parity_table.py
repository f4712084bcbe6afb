"""The gate's findings in the terminal."""

from collections.abc import Iterator
from dataclasses import fields

from rich.console import RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from kd3d.backends.first_departure import Departure, LayerDifference
from kd3d.backends.tolerances import Tolerances
from kd3d.errors import UserError
from kd3d.export.gate.parity_gate import Gate, Verdict
from kd3d.export.proof import worst_decoding, worst_head, worst_part


def gate_tables(gate: Gate) -> Iterator[RenderableType]:
    """One table of verdicts, one for each first departing layer, and what else is to be said."""
    yield _verdicts(gate)
    for verdict in gate.verdicts:
        yield from (Text(text, style="red") for text in _named(verdict))
        if verdict.departure is not None:
            yield _departure(verdict, verdict.departure)
        elif not verdict.passed:
            yield Text(
                f"{verdict.backend} {verdict.precision}: no layer departs before the candidates "
                "are sorted; the fault lies behind, or its file could not be compared"
            )
    for fault in gate.inputs.faults:
        yield Text(f"FAILED {fault}", style="red")
    for reason in gate.left_out:
        yield Text(f"left out: {reason}", style="yellow")


def tolerance_change(text: str) -> tuple[str, float]:
    """``NAME=VALUE`` of a tolerance.

    Raises:
        UserError: for another form, an unknown name or no number.
    """
    name, _, value = text.partition("=")
    names = [field.name for field in fields(Tolerances)]
    try:
        if name in names:
            return name, float(value)
    except ValueError:
        pass
    raise UserError(f"--set {text}: expected NAME=VALUE with one of {', '.join(names)}")


def failed_levels(verdict: Verdict) -> str:
    """Names of the levels that do not agree, and how many values are not finite."""
    levels = [
        (verdict.parity.tensors_agree, "tensors"),
        (verdict.parity.parts_agree, "levels"),
        (verdict.parity.heads_agree, "last layers"),
        (verdict.parity.decoding_agrees, "decoding"),
        (verdict.parity.boxes_agree, "boxes"),
        (verdict.metric is None or verdict.metric.passed, "task metric"),
    ]
    broken = sum(found.non_finite for found in verdict.parity.tensors.values())
    extra = f", {broken} values not finite" if broken else ""
    return ", ".join(name for agrees, name in levels if not agrees) + extra


def _verdicts(gate: Gate) -> Table:
    reference = "sample.npz" if gate.inputs.module is None else "PyTorch"
    table = Table(title=f"Parity with {reference}" + (f" on {gate.host}" if gate.host else ""))
    for column in ("file and check", "found", "limit", "verdict"):
        table.add_column(column)
    for verdict in gate.verdicts:
        inputs = f"{verdict.parity.inputs} input" + "s" * (verdict.parity.inputs != 1)
        name = f"{verdict.backend} {verdict.precision}"
        table.add_row(name, inputs, "", _judgement(verdict))
        for check, found, limit, agrees in _checks(verdict):
            table.add_row(f"  {check}", found, limit, style="" if agrees else "red")
        table.add_section()
    return table


def _judgement(verdict: Verdict) -> Text:
    if verdict.passed:
        return Text("passed", style="green")
    return Text(f"FAILED: {failed_levels(verdict)}", style="red")


def _checks(verdict: Verdict) -> Iterator[tuple[str, str, str, bool]]:
    """What was compared, the worst that was found, its limit, and whether it agrees."""
    result, limits = verdict.parity, verdict.parity.tolerances
    worst = max(found.max_relative for found in result.tensors.values())
    rms = max(found.rms for found in result.tensors.values())
    allowed = f"{limits.relative:g}, {limits.rms:g}"
    yield "tensors: max, rms", f"{worst:.1e}, {rms:.1e}", allowed, result.tensors_agree
    if result.parts:
        worst = max(part.rms for part in result.parts.values())
        yield "levels", f"{worst:.1e}", f"{limits.part:g}", result.parts_agree
    if result.heads:
        most = max(head.ratio for head in result.heads)
        noise = f"{limits.head_noise:g} x"
        yield "last layers", f"{most:.2g} x the export's noise", noise, result.heads_agree
    if result.decoding:
        most = max(found.rms for found in result.decoding.values())
        yield "decoding", f"{most:.1e}", f"{limits.decoding:g}", result.decoding_agrees
    yield "boxes", _boxes(verdict), f"{limits.matched:.0%}", result.boxes_agree
    change = verdict.metric
    if change is None:
        yield "task metric", "not measured", "", True
    else:
        found = f"{change.name} {change.reference:.1f} to {change.candidate:.1f}"
        found += f", {change.samples} {'synthetic ' if change.synthetic else ''}samples"
        yield "task metric", found, f"{change.limit:g} less", change.passed


def _named(verdict: Verdict) -> Iterator[str]:
    """Which level and which last layer fail, if they do."""
    where, result = f"{verdict.backend} {verdict.precision}", verdict.parity
    if not result.parts_agree:
        yield f"{where}: {worst_part(result)}"
    if not result.heads_agree:
        yield f"{where}: {worst_head(result)}"
    if not result.decoding_agrees:
        yield f"{where}: {worst_decoding(result)}"


def _boxes(verdict: Verdict) -> str:
    counts = verdict.parity.boxes
    if not counts.reference and not counts.candidate:
        return "none found"
    text = (
        f"{counts.reference_matched} of {counts.reference}, {counts.candidate_matched} of "
        f"{counts.candidate}"
    )
    return text if verdict.parity.boxes_decide else f"{text}; not counted: scores tie"


def _departure(verdict: Verdict, departure: Departure) -> Table:
    first = escape(departure.first.layer)
    table = Table(
        title=f"{verdict.backend} {verdict.precision} departs first at {first}",
        caption=f"a tensor departs above rms {departure.limit:.1e}; {departure.probes} probes",
    )
    for column in ("", "node", "operator", "rms", "cosine", "not finite"):
        table.add_column(column)
    for role, layers in (
        ("reads", departure.read),
        ("first", (departure.first,)),
        ("after", departure.after),
    ):
        for layer in layers:
            table.add_row(role, *_layer(layer), style="bold red" if role == "first" else "")
    return table


def _layer(layer: LayerDifference) -> tuple[str, ...]:
    return (
        escape(layer.layer),
        escape(layer.operator),
        f"{layer.rms:.2e}",
        f"{layer.cosine:.4f}",
        str(layer.non_finite),
    )
