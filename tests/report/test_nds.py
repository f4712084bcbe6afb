import re

from nuscenes_work import fabricate_nuscenes

from kd3d.report.nds import class_table, parts_chart, parts_table, precision_recall
from kd3d.report.record import Record, find_records
from kd3d.report.summary import summarize


def rows_of(table):
    return [re.findall("<t[dh]>(.*?)</t[dh]>", row) for row in re.findall("<tr>(.*?)</tr>", table)]


def summary_of(tmp_path, **options):
    return summarize(find_records(fabricate_nuscenes(tmp_path, **options)))


def test_bars_are_what_counts_for_nds(tmp_path):
    bars = re.findall(r"<title>(.*?), (\w+): ([\d.]+)</title>", parts_chart(summary_of(tmp_path)))
    baseline = {name: float(value) for name, role, value in bars if role == "baseline"}
    assert baseline == {
        "mAP": 21.5,  # (30 + 33) / 2 - 10
        "1 - mATE": 60.0,
        "1 - mASE": 75.0,
        "1 - mAOE": 40.0,
        "1 - mAVE": 0.0,  # the error is above 1
        "1 - mAAE": 80.0,
    }
    assert len(bars) == 4 * 6


def test_the_table_has_the_errors_themselves(tmp_path):
    rows = rows_of(parts_table(summary_of(tmp_path, variant=True)))
    assert rows[0][:4] == ["", "NDS", "mAP", "mATE, m"]
    assert rows[2] == ["baseline", "31.5", "21.5", "0.400", "0.250", "0.600", "1.250", "0.200"]
    assert rows[-1][:2] == ["heatmap", "38.5"]


def test_every_class_of_every_role_at_every_distance(tmp_path):
    rows = rows_of(class_table(summary_of(tmp_path)))
    assert rows[0][2:7] == ["AP", "AP@0.5 m", "AP@1 m", "AP@2 m", "AP@4 m"]
    assert len(rows) == 1 + 10 * 4
    assert [row[0] for row in rows[1:6]] == ["car", "", "", "", "truck"]
    assert rows[4] == [
        *("", "distilled", "32.5", "32.5", "32.5", "32.5", "32.5", "0.40", "0.25", "-", "-", "-")
    ]


def test_curves_are_means_over_the_seeds(tmp_path):
    html = precision_recall(summary_of(tmp_path))
    assert html.count("<svg") == 10
    assert "pedestrian over recall" in html
    car = html.split("</svg>")[0]
    lines = dict(re.findall(r'class="curve role-(\w+)" points="([^"]*)"', car))
    assert list(lines) == ["teacher", "baseline", "control", "distilled"]
    tops = {role: float(line.split()[0].split(",")[1]) for role, line in lines.items()}
    bottom = float(lines["teacher"].split()[-1].split(",")[1])
    # at recall 0 the precision is NDS / 100: 0.52 and (0.30 + 0.33) / 2
    share = (bottom - tops["baseline"]) / (bottom - tops["teacher"])
    assert abs(share - 0.315 / 0.52) < 2e-3


def test_records_without_details_get_a_sentence(tmp_path):
    record = Record(kind="accuracy", role="baseline", name="b", metrics={"NDS": 1.0}, seed=0)
    summary = summarize({tmp_path / "record-accuracy.json": record})
    for part in (parts_chart, precision_recall, class_table):
        assert "tools/test.py CONFIG CHECKPOINT" in part(summary)
