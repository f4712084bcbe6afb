"""Published Orin latencies as rows that a fit can use, or a reason why one cannot.

The table (columns device, model, precision, input, latency_ms, quantity, stack, source, note) is
read where it lies. A second table, ``rows.csv`` of tools/latency_networks, names the ONNX file that
has the row's graph.
"""

import csv
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

from kd3d.errors import UserError
from kd3d.profiling.devices import Device, load_device

# Text of the column "device" to a board; the first that matches counts.
_BOARDS = (
    (r"DRIVE", "drive-orin"),
    (r"Thor", "thor-t5000"),
    (r"NX 16GB.*Super", "orin-nx-16gb:maxn_super"),  # its clock was told from the times
    (r"NX 16GB", "orin-nx-16gb"),
    (r"NX 8GB", "orin-nx-8gb"),
    (r"Nano.*(Super|SUPER)", "orin-nano-8gb:maxn_super"),
    (r"Nano 4GB", "orin-nano-4gb"),
    (r"Nano", "orin-nano-8gb"),
    (r"AGX Orin 32GB", "orin-agx-32gb"),
    (r"Orin", "orin-agx-64gb"),
)
_CLOCKS = re.compile(r"GPU (?P<gpu>[\d.]+) ?MHz(?: EMC (?P<emc>[\d.]+) ?MHz)?")
# Engines of int8 whose other layers stay float32: Ultralytics' exports and, by its script,
# this publisher's set no fp16 flag beside int8.
_INT8_ALONE = ("hokwangchoi",)
_PRECISIONS = {"FP32": "fp32", "FP16": "fp16", "FP16/FP16": "fp16", "INT8": "int8"}


@dataclass(frozen=True, kw_only=True)
class PublishedRow:
    """One published latency.

    Attributes:
        family: networks of one design, left out together.
        network: name of its ONNX file.
        device: board and clocks.
        board: as the table writes it.
        precision: "fp32", "fp16", "int8"; float_type: what int8 leaves in float.
        protocol: "engine", "python" or "mlperf".
        latency_ms: as published.
        publication: source as the table writes it.
    """

    family: str
    network: str
    device: Device
    board: str
    precision: str
    float_type: str
    protocol: str
    latency_ms: float
    publication: str

    @property
    def publisher(self) -> str:
        """Who published it, without the file and its version."""
        return re.split(r"[/ ]", self.publication)[0]

    @property
    def label(self) -> str:
        """For tables."""
        return f"{self.board}, {self.network}, {self.precision}, {self.protocol}"


def read_rows(
    table: Path, networks: Mapping[tuple[str, str], tuple[str, str]]
) -> tuple[list[PublishedRow], list[tuple[str, str]]]:
    """Rows to fit, and the others with the reason.

    Args:
        table: the published latencies.
        networks: (model, input) to (name of the ONNX file, reason if there is none).

    Raises:
        UserError: when the table is absent or has other columns.
    """
    rows: list[PublishedRow] = []
    left: list[tuple[str, str]] = []
    for entry in _read(table, ("device", "model", "precision", "input", "latency_ms", "quantity")):
        network, reason = networks.get(
            (entry["model"], entry["input"]), ("", "no graph of this network")
        )
        reason = reason if not network else _unfit(entry)
        if reason:
            left.append((f"{entry['device']}, {entry['model']}, {entry['precision']}", reason))
            continue
        rows.append(_row(entry, network))
    return rows, left


def read_networks(path: Path) -> dict[tuple[str, str], tuple[str, str]]:
    """``rows.csv`` of tools/latency_networks."""
    entries = _read(path, ("model", "input", "network", "reason"))
    return {(e["model"], e["input"]): (e["network"], e["reason"]) for e in entries}


def _read(path: Path, columns: Sequence[str]) -> list[dict[str, str]]:
    if not path.is_file():
        raise UserError(f"{path}: no such file; expected a table with columns {', '.join(columns)}")
    with path.open(newline="", encoding="utf-8") as stream:
        reader = csv.DictReader(stream)
        missing = set(columns) - set(reader.fieldnames or ())
        if missing:
            raise UserError(f"{path}: column {sorted(missing)[0]!r} is missing")
        return [{key: value or "" for key, value in entry.items()} for entry in reader]


def _unfit(entry: Mapping[str, str]) -> str:
    """Why a row with a graph is no latency of that graph on a GPU; "" if it is one."""
    if "DLA" in entry["device"] or "DLA" in entry["precision"]:
        return "runs on the DLA, not on the GPU"
    if "bimodal" in entry.get("note", ""):
        return "the source itself notes two modes (p50 1.26, p90 1.58 ms), clocks not steady"
    if entry["precision"] not in _PRECISIONS:
        return f"parts in different precisions ({entry['precision']})"
    return ""


def _row(entry: Mapping[str, str], network: str) -> PublishedRow:
    quantity = entry["quantity"].lower()
    protocol = "python" if "python" in quantity else "mlperf" if "mlperf" in quantity else "engine"
    source = entry.get("source", "")
    alone = protocol == "python" or source.startswith(_INT8_ALONE)
    return PublishedRow(
        family=_family(network),
        network=network,
        device=board(entry["device"]),
        board=entry["device"],
        precision=_PRECISIONS[entry["precision"]],
        float_type="fp32" if alone else "fp16",
        protocol=protocol,
        latency_ms=float(entry["latency_ms"]),
        publication=source,
    )


def board(text: str) -> Device:
    """Board and clocks of the table's column "device".

    Raises:
        UserError: for a text that names no board.
    """
    for pattern, name in _BOARDS:
        if re.search(pattern, text):
            device = load_device(name)
            found = _CLOCKS.search(text)
            if not found:
                return device
            return device.at(
                gpu_mhz=float(found["gpu"]),
                emc_mhz=float(found["emc"]) if found["emc"] else None,
            )
    raise UserError(f"device {text!r} of the table names no board that is known")


def _family(network: str) -> str:
    """One family: "yolov8n" and "yolov8x", or the batches of one network."""
    yolo = re.match(r"(yolov?\d+)", network)
    return yolo[1] if yolo else network.split("_")[0]


def clock_pairs(rows: Sequence[PublishedRow]) -> list[tuple[int, int]]:
    """Places of rows that differ in clocks or SMs, and in nothing else that is published.

    One board in two power modes, or two boards of one chip with as many SMs and as wide a bus (Orin
    NX 16GB and Orin Nano 8GB); of one publication, or of one MLPerf round.
    """

    def same(row: PublishedRow) -> tuple[object, ...]:
        source = row.publication.partition("/results/")[0]
        return (row.network, row.precision, row.protocol, source)

    return [
        (first, second)
        for first, second in combinations(range(len(rows)), 2)
        if same(rows[first]) == same(rows[second])
        and _alike(rows[first].device, rows[second].device)
        and rows[first].device != rows[second].device
    ]


def _alike(first: Device, second: Device) -> bool:
    def chip(device: Device) -> tuple[object, ...]:
        return (device.generation, device.sms, device.memory_bus_bits, device.l2_mb)

    return first.name == second.name or chip(first) == chip(second)
