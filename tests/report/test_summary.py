from pathlib import Path

import pytest

from kd3d.errors import UserError
from kd3d.report.record import Record, find_records
from kd3d.report.summary import NO_SEED, split_of, summarize


def test_groups_statistics_and_gaps_of_a_recipe(tmp_path, make_work_dir):
    summary = summarize(find_records(make_work_dir(tmp_path)))
    assert list(summary.groups) == ["teacher", "baseline", "control", "distilled"]
    baseline = summary.groups["baseline"].statistic("AP")  # 20, 24, 22
    assert (baseline.mean, baseline.std) == (22.0, pytest.approx(2.0))
    assert summary.groups["teacher"].values("AP") == {NO_SEED: 40.0}
    # (30-20)/(40-20), (32-24)/(40-24), (31-22)/(40-22): each 1/2
    assert summary.gaps["baseline"].mean == pytest.approx(0.5)
    # (30-24)/(40-24), (32-25)/(40-25), (31-26)/(40-26)
    assert summary.gaps["control"].mean == pytest.approx((6 / 16 + 7 / 15 + 5 / 14) / 3)
    assert summary.groups["distilled"].latency["onnxruntime"].metrics["p50_ms"] == 12.34
    assert summary.latency_backend == "onnxruntime"


def test_class_ap_is_the_mean_over_the_seeds_that_have_it(tmp_path, make_accuracy):
    records = {
        tmp_path / str(seed) / "record-accuracy.json": make_accuracy(
            "baseline", seed, 20.0, tmp_path, per_class=per_class
        )
        for seed, per_class in enumerate([{"car": {"AP": 10.0}}, {"car": {"AP": 30.0}, "bus": {}}])
    }
    assert summarize(records).groups["baseline"].class_ap() == {"car": 20.0}


@pytest.mark.parametrize(
    ("roles", "refusal"),
    [
        (("teacher", "distilled", "control"), "no gain shown: baseline missing"),
        (("teacher", "distilled", "baseline"), "no gain shown: control missing"),
        (("distilled",), "no gain shown: teacher and baseline and control missing"),
        (("teacher", "baseline", "control"), "no gain shown: no distilled run"),
    ],
)
def test_no_gain_without_its_twins(tmp_path, make_work_dir, roles, refusal):
    summary = summarize(find_records(make_work_dir(tmp_path, roles)))
    assert (summary.refusal, summary.gaps) == (refusal, {})


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"dataset": {"ann_file": "other.json"}}, "tested on different splits"),
        ({"parameters": 5}, "(baseline: 7, control: 5, distilled: 7)"),
        ({"metrics": {}}, "control without an AP"),
    ],
)
def test_no_gain_between_runs_that_cannot_be_compared(tmp_path, make_accuracy, changes, said):
    records = {}
    for role in ("teacher", "baseline", "control", "distilled"):
        values = {"parameters": 7, **(changes if role == "control" else {})}
        records[tmp_path / role] = make_accuracy(role, 0, 20.0, tmp_path, **values)
    summary = summarize(records)
    assert summary.gaps == {}
    assert summary.refusal.startswith("no gain shown: ")
    assert said in summary.refusal


def test_equal_wall_clock_is_a_group_of_its_own(tmp_path, make_work_dir, make_accuracy):
    records = find_records(make_work_dir(tmp_path))
    longer = make_accuracy("baseline", 0, 25.0, tmp_path, name="baseline-wall-clock/seed0")
    records[Path("longer/record-accuracy.json")] = longer
    summary = summarize(records)
    assert list(summary.groups)[1:3] == ["baseline", "baseline-wall-clock"]
    assert summary.groups["baseline-wall-clock"].label == "baseline, equal wall clock"
    # seed 0 alone has both: (30-25)/(40-25)
    assert summary.gaps["baseline-wall-clock"].per_seed == {0: pytest.approx(5 / 15)}


def test_two_records_of_one_run_are_refused(tmp_path, make_accuracy):
    record = make_accuracy("baseline", 0, 20.0, tmp_path)
    with pytest.raises(UserError, match="b: 'baseline' with seed 0 stands already in a"):
        summarize({Path("a"): record, Path("b"): record})


def test_accuracy_of_another_backend_and_unknown_roles_stay_out_of_the_comparison(
    tmp_path, make_accuracy
):
    exported = make_accuracy("baseline", 0, 19.0, tmp_path, conditions={"backend": "onnxruntime"})
    unknown = make_accuracy("", None, 34.0, tmp_path, name="yolox-nano")
    records: dict[Path, Record] = {Path("a"): exported, Path("b"): unknown}
    assert list(summarize(records).groups) == ["yolox-nano"]


def test_nds_ranks_where_a_record_has_it(tmp_path, make_accuracy):
    scores = {"teacher": 60.0, "baseline": 30.0, "control": 40.0, "distilled": 45.0}
    records = {
        tmp_path / role: make_accuracy(
            role, 0, 10.0, tmp_path, parameters=7, metrics={"NDS": nds, "AP": 10.0}
        )
        for role, nds in scores.items()
    }
    summary = summarize(records)
    assert summary.metric == "NDS"
    assert summary.gaps["baseline"].mean == pytest.approx(15 / 30)
    assert summary.gaps["control"].mean == pytest.approx(5 / 20)
    assert not summary.is_synthetic
    control = tmp_path / "control"
    records[control] = make_accuracy("control", 0, 40.0, tmp_path, parameters=7)
    assert summarize(records).refusal == "no gain shown: control without an NDS"


def test_the_split_of_a_nuscenes_root_is_its_name_version_and_root(tmp_path, make_accuracy):
    world = {"data_root": "data/world", "version": "v1.0-trainval", "split": "synthetic_test"}
    record = make_accuracy("baseline", 0, 20.0, tmp_path, dataset={**world, "synthetic": "yes"})
    assert split_of(record) == "synthetic_test of data/world (v1.0-trainval)"
    other = make_accuracy("baseline", 1, 20.0, tmp_path)
    assert split_of(other) == str(tmp_path / "data" / "test.json")
    assert summarize({tmp_path: record}).is_synthetic


def test_a_variant_is_compared_with_the_same_twins(tmp_path, make_work_dir, make_accuracy):
    records = find_records(make_work_dir(tmp_path))
    path = Path("variant/record-accuracy.json")
    records[path] = make_accuracy("distilled", 2, 31.0, tmp_path, name="variant-less/seed2")
    summary = summarize(records)
    assert list(summary.groups)[-1] == "variant-less"
    assert summary.groups["variant-less"].label == "less"
    assert not summary.groups["variant-less"].is_main
    # seed 2 alone has all: (31-22)/(40-22), (31-26)/(40-26)
    assert summary.variants["variant-less"]["baseline"].mean == pytest.approx(9 / 18)
    assert summary.variants["variant-less"]["control"].mean == pytest.approx(5 / 14)
    assert summary.gaps["baseline"].mean == pytest.approx(0.5)
    records[path] = make_accuracy("distilled", 2, 31.0, tmp_path, name="variant-x", parameters=1)
    assert "differ in parameters" in summarize(records).refusal


def test_the_latency_shown_is_the_nearest_to_the_vehicle(tmp_path, make_work_dir):
    work = make_work_dir(tmp_path)
    for group, names in {
        "teacher": ("onnxruntime", "onnxruntime-int8", "pytorch"),
        "distilled": ("onnxruntime", "onnxruntime-int8"),
    }.items():
        for name in names:
            add_latency(work, group, name)
    assert summarize(find_records(work)).latency_backend == "onnxruntime"
    add_latency(work, "teacher", "tensorrt-fp16")
    add_latency(work, "distilled", "tensorrt-int8")
    add_latency(work, "teacher", "tensorrt-int8")
    assert summarize(find_records(work)).latency_backend == "tensorrt-int8"  # both groups have it
    add_latency(work, "teacher", "onnxruntime-on-orin")
    assert summarize(find_records(work)).latency_backend == "onnxruntime-on-orin"


def add_latency(work, role, name):
    record = Record(kind="latency", role=role, name=role, metrics={"p50_ms": 1.0})
    record.write(work / "export" / role / f"record-latency-{name}.json")
