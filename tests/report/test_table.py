import pytest
from nuscenes_work import fabricate_nuscenes

from kd3d.evaluation.gap import GapClosed
from kd3d.report.record import Record, find_records
from kd3d.report.summary import Statistic, summarize
from kd3d.report.table import gap_text, markdown, parameters_text, statistic_text, summary_table


def test_markdown_of_a_recipe(tmp_path, make_work_dir):
    lines = markdown(summary_table(summarize(find_records(make_work_dir(tmp_path))))).splitlines()
    assert lines[0] == (
        "|  | parameters | runs | AP | AP50 | gap closed vs baseline | gap closed vs control "
        "| latency p50, onnxruntime | file |"
    )
    assert lines[2] == "| teacher | 11.00 M | 1 | 40.0 | 60.0 |  |  | 81.2 ms | 44.1 MB |"
    # timed on the distilled student; the baseline is the same network
    assert lines[3] == (
        "| baseline | 1.23 M | 3 | 22.0 \u00b1 2.0 | 42.0 \u00b1 2.0 |  |  | (12.3 ms) | (4.9 MB) |"
    )
    assert "| 50 \u00b1 0 % | 40 \u00b1 6 % | 12.3 ms | 4.9 MB |" in lines[5]
    assert "In parentheses" in lines[7]


def test_no_gain_is_said_in_words_and_no_percentage_is_printed(tmp_path, make_work_dir):
    work = make_work_dir(tmp_path, ("teacher", "control", "distilled"))
    text = markdown(summary_table(summarize(find_records(work))))
    assert "no gain shown: baseline missing." in text
    assert "%" not in text


def test_an_undefined_gap_gives_its_reason(tmp_path, make_accuracy):
    aps = {"teacher": 20.0, "baseline": 21.0, "control": 10.0, "distilled": 19.0}
    records = {
        tmp_path / role: make_accuracy(role, 0, ap, tmp_path, parameters=7)
        for role, ap in aps.items()
    }
    text = markdown(summary_table(summarize(records)))
    assert "| undefined | 90 % |" in text  # (19-10)/(20-10)
    assert "Gap closed vs baseline: undefined: the teacher (20.0) is not better" in text
    assert "No latency was measured; tools/export.py" in text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (statistic_text(None), "-"),
        (statistic_text(Statistic(30.06, None)), "30.1"),
        (statistic_text(Statistic(30.06, 0.44)), "30.1 \u00b1 0.4"),
        (gap_text(GapClosed(-0.25, None)), "-25 %"),
        (gap_text(GapClosed(None, None, reason="x")), "undefined"),
        (parameters_text(None), "-"),
        (parameters_text(30_050), "30.1 k"),
        (parameters_text(546_000), "0.55 M"),
    ],
)
def test_texts(text, expected):
    assert text == expected


def test_what_the_student_keeps_of_its_teachers_nds(tmp_path):
    work = fabricate_nuscenes(tmp_path)
    for role, ms in (("teacher", 90.0), ("distilled", 20.0)):
        record = Record(kind="latency", role=role, name=role, metrics={"p50_ms": ms})
        record.write(work / "export" / role / "record-latency-onnxruntime.json")
    text = markdown(summary_table(summarize(find_records(work))))
    assert "| NDS | mAP |" in text
    assert "Measured in a synthetic world." in text
    # (41 + 44) / 2 of 52; 0.4 of 5 million; 90 / 20
    assert (
        "The distilled student keeps 81.7 % of the teacher's NDS (-9.5 points), with 8.0 % of its "
        "parameters, at 4.5 times its speed (onnxruntime)."
    ) in text


def test_nothing_is_kept_of_a_teacher_that_is_no_better(tmp_path, make_accuracy):
    scores = {"teacher": 0.1, "baseline": 1.0, "control": 0.0, "distilled": 2.0}
    records = {
        tmp_path / role: make_accuracy(role, 0, 0.0, tmp_path, parameters=7, metrics={"NDS": nds})
        for role, nds in scores.items()
    }
    assert "keeps" not in markdown(summary_table(summarize(records)))
