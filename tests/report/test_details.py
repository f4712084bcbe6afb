import re

from kd3d.report.details import (
    condition_facts,
    latency_table,
    parity_table,
    record_list,
    training_table,
)
from kd3d.report.output import write_report
from kd3d.report.record import Record, find_records
from kd3d.report.summary import summarize


def rows_of(table: str) -> list[list[str]]:
    return [re.findall("<t[dh]>(.*?)</t[dh]>", row) for row in re.findall("<tr>(.*?)</tr>", table)]


def test_training_means_over_seeds_and_shares_of_each_pair(tmp_path, make_work_dir):
    head, baseline, control, distilled = rows_of(
        training_table(summarize(find_records(make_work_dir(tmp_path))))
    )
    assert head[1:4] == ["iterations", "s / iteration", "peak memory, MB"]
    assert head[4:] == ["gradient share of neck", "gradient share of response"]
    assert baseline == ["baseline", "1000", "0.2", "900", "-", "-"]
    assert control[0] == "control"
    assert distilled == ["distilled", "1000", "0.25", "900", "0.3", "0.1"]  # (.24 + .25 + .26) / 3


def test_latency_has_percentiles_and_conditions(tmp_path, make_work_dir):
    rows = rows_of(latency_table(summarize(find_records(make_work_dir(tmp_path)))))
    assert rows[2] == [
        *("distilled, onnxruntime", "12.3", "13.3", "15.3", "-", "-", "12.3", "-", "-", "200"),
        "threads 2",
    ]


def test_conditions_are_told_apart_by_kind_and_commands_are_elsewhere():
    records = [
        Record(kind=kind, role="", name="x", metrics={}, conditions={"input": size, "command": "c"})
        for kind, size in (("accuracy", "320x192"), ("export", "320x192"), ("latency", "1x1"))
    ]
    facts = re.findall("<dt>(.*?)</dt><dd>(.*?)</dd>", condition_facts(records))
    assert facts == [("accuracy: input", "320x192"), ("export: input", "320x192")]


def test_parity_of_exports_stands_on_the_page_and_in_the_text(tmp_path, make_work_dir):
    work = make_work_dir(tmp_path)
    assert parity_table(summarize(find_records(work))) is None  # its exports were not compared
    Record(
        kind="export",
        role="distilled",
        name="export/distilled",
        metrics={"file_size_mb": 4.9, "max_abs_difference": 0.00012345, "boxes_matched": 0.9876},
        conditions={
            "backend": "onnxruntime",
            "precision": "fp32",
            "passed": True,
            "parity_inputs": 8,
        },
    ).write(work / "export" / "distilled" / "record-export.json")
    (row,) = parity_table(summarize(find_records(work))).rows
    assert row.cells == ["distilled", "onnxruntime, fp32", "8", "0.000123", "98.8 %", "yes"]
    page, text, *_ = write_report([work], tmp_path / "report")
    assert "Parity of the exports" in page.read_text()
    assert "| distilled | onnxruntime, fp32 | 8 | 0.000123 | 98.8 % | yes |" in text.read_text()


def test_every_record_is_listed_with_its_file(tmp_path, make_work_dir):
    records = find_records(make_work_dir(tmp_path))
    listed = rows_of(record_list(records))[1:]
    assert [row[-1] for row in listed] == [str(path) for path in records]
