from dataclasses import replace

from kd3d.report.ablation import ablation_table
from kd3d.report.record import Record, find_records
from kd3d.report.summary import summarize
from kd3d.report.table import markdown


def test_without_variants_there_is_no_ablation(tmp_path, make_work_dir):
    assert ablation_table(summarize(find_records(make_work_dir(tmp_path)))) is None


def test_variants_stand_between_the_twins_and_the_whole_run(tmp_path, make_work_dir, make_accuracy):
    work = make_work_dir(tmp_path)
    for seed, ap in ((0, 26.0), (1, 29.0)):
        name = f"variant-response/seed{seed}"
        record = make_accuracy("distilled", seed, ap, tmp_path, name=name)
        record.write(work / name / "record-accuracy.json")
        metrics = {"gradient_scale": 1.2 + 0.1 * seed, "iterations": 1000}
        labels = {"role": "distilled", "name": name, "seed": seed}
        training = Record(kind="training", metrics=metrics, **labels)
        training.write(work / name / "record-training.json")
    lines = markdown(ablation_table(summarize(find_records(work)))).splitlines()
    assert [line.split(" | ")[0] for line in lines[2:6]] == [
        *("| baseline", "| control", "| response", "| distilled, whole")
    ]
    # above baseline: (26-20, 29-24), above control: (26-24, 29-25); strength: (1.2 + 1.3) / 2
    # gaps: (26-20)/(40-20), (29-24)/(40-24) and (26-24)/(40-24), (29-25)/(40-25)
    assert lines[4] == (
        "| response | 2 | 27.5 \u00b1 2.1 | +5.5 | +3.0 | 31 \u00b1 1 % | 20 \u00b1 10 % | 1.25 "
        "| 1000 |"
    )
    # (30-20 + 32-24 + 31-22) / 3 and (30-24 + 32-25 + 31-26) / 3; nothing measured its strength
    assert "| +9.0 | +6.0 | 50 \u00b1 0 % | 40 \u00b1 6 % | - | 1000 |" in lines[5]


def test_a_seed_without_its_twin_does_not_count(tmp_path, make_accuracy):
    values = {"teacher": 40.0, "baseline": 20.0, "control": 25.0, "distilled": 30.0}
    records = {
        tmp_path / role: make_accuracy(role, 0, ap, tmp_path, parameters=7)
        for role, ap in values.items()
    }
    lonely = replace(records[tmp_path / "distilled"], name="variant-x", seed=9)
    row = ablation_table(summarize({**records, tmp_path / "x": lonely})).rows[2]
    assert row.cells[3:7] == ["-", "-", "undefined", "undefined"]
