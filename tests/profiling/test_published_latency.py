"""The predictor against published latencies, where the table is there (KD3D_REAL_DATA).

Only networks whose graphs are made in a second are built here. The errors of all rows, and with
families and boards left out, are remade by tools/fit_latency.py; the slow test at the end compares
them with the committed ones where the graphs are there too (work_dirs/latency_networks).
"""

import os
from pathlib import Path

import numpy as np
import onnx
import pytest
import yaml
from networks import NETWORKS
from published_rows import ROWS

from kd3d.profiling.prediction.latency_errors import error_table, relative_errors
from kd3d.profiling.prediction.latency_fit import FitRow, predicted_ms
from kd3d.profiling.prediction.latency_report import fit_report
from kd3d.profiling.prediction.network_work import NetworkWork
from kd3d.profiling.prediction.published_rows import read_networks, read_rows
from kd3d.profiling.roofline import PARAMETERS_FILE, fitted, predict_latency

ROOT = Path(__file__).resolve().parents[2]
TABLE = Path(os.environ.get("KD3D_REAL_DATA", "")) / "orin/published_latency.csv"
GRAPHS = ROOT / "work_dirs/latency_networks"
BUILT = ("resnet50", "nanosam_resnet18_1024")
pytestmark = pytest.mark.skipif(
    "KD3D_REAL_DATA" not in os.environ, reason="KD3D_REAL_DATA is not set"
)


@pytest.fixture(scope="module")
def committed():
    return yaml.safe_load(PARAMETERS_FILE.read_text())


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The rows of some networks, and their graphs as tools/latency_networks makes them."""
    folder = tmp_path_factory.mktemp("networks")
    for name in BUILT:
        onnx.save(NETWORKS[name].graph(NETWORKS[name].module()), folder / f"{name}.onnx")
    answers = {key: (row.network or "", row.reason) for key, row in ROWS.items()}
    rows, _ = read_rows(TABLE, answers)
    return folder, [row for row in rows if row.network in BUILT]


def test_errors_of_some_families_are_the_committed_ones(built, committed):
    folder, rows = built
    assert len(rows) == 6  # five of ResNet-50, one of NanoSAM
    work = NetworkWork(folder)
    predicted = [predicted_ms(FitRow.from_layers(row, work.of(row)), fitted()[0]) for row in rows]
    found = error_table(rows, np.array(predicted), "family")["by"]
    stated = committed["errors_by_what_was_left_out"]["nothing"]["by"]
    assert found == {family: stated[family] for family in ("nanosam", "resnet50")}


def test_the_fit_and_the_tool_time_alike(built):
    folder, rows = built
    work = NetworkWork(folder)
    row = rows[0]
    direct = predicted_ms(FitRow.from_layers(row, work.of(row)), fitted()[0])
    told = predict_latency(
        folder / f"{row.network}.onnx",
        row.device,
        precision=row.precision,
        protocol=row.protocol,
    )
    assert told.total_ms == pytest.approx(direct)
    assert abs(relative_errors([row], np.array([told.total_ms]))[0]) < 0.25


@pytest.mark.slow
def test_cross_validated_errors_are_the_committed_ones(committed):
    if not (GRAPHS / "rows.csv").is_file():
        pytest.skip("needs work_dirs/latency_networks (tools/latency_networks/write_networks.py)")
    rows, _ = read_rows(TABLE, read_networks(GRAPHS / "rows.csv"))
    work = NetworkWork(GRAPHS)
    report = fit_report([FitRow.from_layers(row, work.of(row)) for row in rows], 0.8)
    assert report.rows == committed["conditions"]["published_rows_used"]
    for name, stated in committed["errors_by_what_was_left_out"].items():
        found = report.errors[name]
        assert found["mape_percent"] == pytest.approx(stated["mape_percent"], abs=0.3), name
        assert found["rank_correlation"] == pytest.approx(stated["rank_correlation"], abs=0.005)
    assert report.half_width == pytest.approx(committed["interval"]["log_half_width"], abs=0.01)
