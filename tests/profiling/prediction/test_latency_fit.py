import dataclasses
from itertools import product

import numpy as np
import pytest

from kd3d.errors import UserError
from kd3d.profiling.prediction.kernel_time import Parameters
from kd3d.profiling.prediction.kernel_work import LayerWork
from kd3d.profiling.prediction.latency_errors import (
    clock_scaling,
    error_table,
    held_families,
    interval_half_width,
    scaling_summary,
)
from kd3d.profiling.prediction.latency_fit import (
    PRIORS,
    FitRow,
    _whitened,
    fit_parameters,
    left_out,
    left_out_twice,
    predicted_ms,
)
from kd3d.profiling.prediction.published_rows import board, clock_pairs, read_rows

HEAD = "device,model,precision,input,latency_ms,quantity,source,note\n"
NETWORKS = {("A", "x"): ("yolov8n", ""), ("B", "x"): ("", "no graph")}


def _table(tmp_path, *lines):
    path = tmp_path / "published_latency.csv"
    path.write_text(HEAD + "".join(line + "\n" for line in lines))
    return path


def _rows(tmp_path, *lines):
    return read_rows(_table(tmp_path, *lines), NETWORKS)


def test_rows_are_read_or_left_out_with_a_reason(tmp_path):
    rows, left = _rows(
        tmp_path,
        "Orin Nano 8GB 15W,A,FP16,x,6.1,trtexec GPU compute mean,lab,",
        "AGX Orin GPU 930.75MHz EMC 3199MHz,A,INT8,x,0.9,MLPerf SingleStream,ml,clock-locked",
        "AGX Thor,A,INT8,x,1.5,python runtime,doc,",
        "Orin Nano,A,INT8,x,4.9,trtexec,hokwangchoi/jetson results,",
        "AGX Orin 64GB 2xDLA,A,INT8 (DLA),x,25,throughput,nv,",
        "AGX Orin,B,FP16,x,1,trtexec,nv,",
        "AGX Orin,A,FP16enc/FP32dec,x,1,trtexec,nv,",
        "AGX Orin,A,FP16,x,1,trtexec,nv,bimodal p50",
    )
    assert [(r.device.name, r.precision, r.protocol, r.float_type) for r in rows] == [
        ("orin-nano-8gb", "fp16", "engine", "fp16"),
        ("orin-agx-64gb", "int8", "mlperf", "fp16"),
        ("thor-t5000", "int8", "python", "fp32"),
        ("orin-nano-8gb", "int8", "engine", "fp32"),  # its script builds without an fp16 flag
    ]
    assert [row.publisher for row in rows] == ["lab", "ml", "doc", "hokwangchoi"]
    assert (rows[1].device.gpu_mhz, rows[1].family) == (930.75, "yolov8")
    reasons = [reason for _, reason in left]
    assert [
        word in reason
        for word, reason in zip(
            ("DLA", "no graph", "different precisions", "two modes"), reasons, strict=True
        )
    ] == [True] * 4


def test_a_table_with_other_columns_is_refused(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("device,model\n")
    with pytest.raises(UserError, match="column 'input' is missing"):
        read_rows(path, {})
    with pytest.raises(UserError, match="no such file"):
        read_rows(tmp_path / "absent.csv", {})


def test_a_board_that_is_none():
    with pytest.raises(UserError, match="names no board"):
        board("Xavier NX")


def _fit_rows(tmp_path, truth):
    """Made-up networks, measured without noise on two modes of a board and on another.

    Twenty families: of each the fit believes the level only to 15 %.
    """
    boards = ("Orin Nano 8GB 15W", "Orin Nano 8GB MAXN_SUPER", "AGX Orin 64GB")
    lines = [f"{name},A,FP16,x,1,trtexec,lab," for name in boards]
    published, _ = _rows(tmp_path, *lines)
    rows = []
    for index, (scale, width) in enumerate(product((1, 2, 4, 8, 30), (64, 128, 192, 256))):
        layer = LayerWork(
            "c",
            "Conv",
            "product",
            "fp16",
            m=3000 * scale,
            n=width,
            k=9 * width,
            read_bytes=6e3 * width * scale,
            write_bytes=6e3 * width * scale,
            weight_bytes=18 * width**2,
        )
        for row in published:
            named = dataclasses.replace(row, network=f"net{index}", family=f"net{index}")
            made = FitRow.from_layers(named, [layer] * 20)
            exact = dataclasses.replace(named, latency_ms=predicted_ms(made, truth))
            rows.append(dataclasses.replace(made, row=exact))
    return rows


def test_equal_kernels_are_timed_once(tmp_path):
    row = _fit_rows(tmp_path, Parameters(**{k: v for k, (v, _) in PRIORS.items()}))[0]
    assert row.counts.tolist() == [20]


def test_a_fit_explains_data_of_its_own_kind(tmp_path):
    priors = {name: value for name, (value, _) in PRIORS.items()}
    truth = Parameters(**{**priors, "tensor_fp16": 0.6, "kernel_clocks": 4000.0})
    rows = _fit_rows(tmp_path, truth)
    before = [predicted_ms(row, Parameters(**priors)) / row.row.latency_ms for row in rows]
    fitted = fit_parameters(rows)
    after = [predicted_ms(row, fitted) / row.row.latency_ms for row in rows]
    assert np.abs(np.log(before)).max() > 0.1
    assert np.abs(np.log(after)).max() < 0.06  # the priors hold a little back
    assert fitted.mlperf_ms == pytest.approx(priors["mlperf_ms"])  # no row speaks of it


def test_errors_by_hand(tmp_path):
    rows, _ = _rows(
        tmp_path,
        "Orin Nano 8GB 15W,A,FP16,x,10,trtexec,lab,",
        "Orin Nano 8GB MAXN_SUPER,A,FP16,x,5,trtexec,lab,",
        "AGX Orin,A,FP16,x,2,trtexec,other,",
    )
    predicted = np.array([12.0, 4.0, 2.0])  # +20 %, -20 %, 0
    table = error_table(rows, predicted, "family")
    assert (table["rows"], table["mape_percent"], table["rank_correlation"]) == (3, 13.3, 1.0)
    assert table["by"]["yolov8"] == {"rows": 3, "mape_percent": 13.3, "bias_percent": 0.0}
    assert clock_pairs(rows) == [(0, 1)]  # one board and publication; the third is another
    (ratio,) = clock_scaling(rows, predicted)
    assert (ratio["published"], ratio["predicted"], ratio["error_percent"]) == (2.0, 3.0, 50.0)


def test_pairs_of_clocks_are_alike_in_all_else(tmp_path):
    """Modes of a board, boards of one chip, systems of one MLPerf round; not two publications."""
    v2 = "mlcommons/v2.0 closed/NVIDIA/results/"
    rows, _ = _rows(
        tmp_path,
        "Orin Nano Super 8GB,A,FP16,x,4.6,python runtime,doc,",
        "Orin NX 16GB (Super?),A,FP16,x,4.1,python runtime,doc,",
        "AGX Orin 64GB,A,FP16,x,2.6,python runtime,doc,",
        "Orin Nano 8GB,A,FP16,x,7.3,python runtime,other,",
        "Orin Nano Super 8GB,A,INT8,x,3.8,python runtime,doc,",
        f"AGX Orin,A,INT8,x,0.7,MLPerf,{v2}Orin,",
        f"AGX Orin GPU 930.75MHz EMC 3199MHz,A,INT8,x,0.9,MLPerf,{v2}Orin_MaxQ,",
    )
    assert clock_pairs(rows) == [(0, 1), (5, 6)]


def test_the_summary_of_clock_scaling_by_hand():
    errors = [{"error_percent": error} for error in (-10.0, 8.0, 3.0)]
    assert scaling_summary(errors) == {
        "pairs": 3,
        "mean_error_percent": 7.0,
        "largest_error_percent": 10.0,
        "pairs_within_8_percent": 2,
    }


def test_a_group_of_rows_tells_its_level_once_and_its_ratios_each():
    """Two rows off by 0.3 alike cost little more than one; off against each other, much more."""
    alike, apart = (_whitened(np.array(errors)) for errors in ([0.3, 0.3], [0.3, -0.3]))
    assert alike[:2].tolist() == [0, 0]
    assert alike[2] == pytest.approx(0.3 / np.sqrt(0.15**2 + 0.06**2 / 2))
    assert apart[2] == 0
    # 0.3 is five times a row's noise: beyond twice, errors count linearly
    assert apart[0] == pytest.approx(2 * np.sqrt(2 * (np.sqrt(1 + 2.5**2) - 1)))
    assert (apart**2).sum() > 5 * (alike**2).sum()


def _families(tmp_path, names):
    (row,), _ = _rows(tmp_path, "AGX Orin,A,FP16,x,1,trtexec,lab,")
    return [dataclasses.replace(row, family=name) for name in names]


def test_the_interval_is_that_of_the_family_of_its_rank(tmp_path):
    """Errors of 1 to 9 % in nine families: of (9 + 1) * 0.8 = 8 the rank."""
    rows = _families(tmp_path, "abcdefghi")
    predicted = np.exp(np.arange(1, 10) / 100)
    assert interval_half_width(rows, predicted, 0.8) == pytest.approx(0.08)
    assert interval_half_width(rows[:4], predicted[:4], 0.8) == pytest.approx(0.04)  # rank 4 of 4
    with pytest.raises(UserError, match=r"3 families of networks support at most 0\.75"):
        interval_half_width(rows[:3], predicted[:3], 0.8)


def test_a_familys_error_is_that_of_its_worst_row(tmp_path):
    """Eight rows of one family off by 1 % and one by 9 %: as one family of 9 %."""
    rows = _families(tmp_path, ["many"] * 9 + ["a", "b", "c"])
    predicted = np.exp(np.array([0.01, -0.09, *[0.01] * 7, 0.02, 0.03, 0.04]))
    assert interval_half_width(rows, predicted, 0.8) == pytest.approx(0.09)
    assert interval_half_width(rows, predicted, 0.6) == pytest.approx(0.04)


def test_a_family_is_held_by_what_it_did_not_help_to_set(tmp_path):
    """Of five, the width for each is the largest error of the other four, as predicted then."""
    rows = _families(tmp_path, "abcde")
    nested = {name: np.exp(np.array([0.01, 0.02, 0.03, 0.04, 0.09])) for name in "abcde"}
    assert held_families(rows, nested, 0.8) == ["a", "b", "c", "d"]  # e: 9 % in 4 %
    nested["e"] = np.exp(np.array([0.01, 0.02, 0.03, 0.10, 0.09]))  # a wider one, without e
    assert held_families(rows, nested, 0.8) == ["a", "b", "c", "d", "e"]


def test_nested_fits_have_seen_neither_family(tmp_path):
    priors = {name: value for name, (value, _) in PRIORS.items()}
    truth = Parameters(**{**priors, "tensor_fp16": 0.6})
    names = ("net4", "net5", "net6")
    rows = [row for row in _fit_rows(tmp_path, truth)[::3] if row.row.family in names]
    start = Parameters(**priors)
    nested = left_out_twice(rows, start)
    once = left_out(rows, lambda row: row.family, start)
    for name in names:
        own = [place for place, row in enumerate(rows) if row.row.family == name]
        assert nested[name][own] == pytest.approx(once[own])
    only = fit_parameters([row for row in rows if row.row.family == "net6"], start)
    for place, row in enumerate(rows):
        if row.row.family == "net5":
            assert nested["net4"][place] == pytest.approx(predicted_ms(row, only))
