import statistics

import pytest

from kd3d.recipes.outcome import gap_table, link_twins
from kd3d.recipes.plan import plan_runs
from kd3d.recipes.recipe import Recipe, Variant
from kd3d.report.record import Record

SCORES = {
    "teacher": 40.0,
    "distilled/seed0": 30.0,
    "distilled/seed1": 34.0,
    "baseline/seed0": 20.0,
    "baseline/seed1": 20.0,
    "control/seed0": 28.0,
}
# (30 - 20) / (40 - 20) and (34 - 20) / (40 - 20)
AGAINST_BASELINE = [0.5, 0.7]


def write(work_dir, run, ap):
    labels = {"role": run.role, "name": run.name, "seed": run.seed}
    record = Record(kind="accuracy", metrics={"AP": ap}, **labels)
    record.write(work_dir / run.name / "record-accuracy.json")


@pytest.fixture
def outcome(tmp_path, distilled, teacher):
    runs = plan_runs(Recipe(name="toy", distilled=distilled, seeds=(0, 1)), teacher, tmp_path)
    for run in runs:
        if run.name in SCORES:
            write(tmp_path, run, SCORES[run.name])
    return runs, tmp_path


def read(work_dir, name):
    return Record.read(work_dir / name / "record-accuracy.json")


def test_a_distilled_record_names_the_twins_of_its_seed(outcome):
    runs, work_dir = outcome
    link_twins(runs, work_dir)
    assert read(work_dir, "distilled/seed0").twin == {
        "teacher": "teacher",
        "baseline": "baseline/seed0",
        "control": "control/seed0",
    }
    assert read(work_dir, "distilled/seed1").twin == {
        "teacher": "teacher",
        "baseline": "baseline/seed1",
    }
    assert read(work_dir, "baseline/seed0").twin == {}


def test_the_gap_closed_is_recorded_with_its_deviation(outcome):
    runs, work_dir = outcome
    gaps = link_twins(runs, work_dir).gaps
    assert gaps["baseline"].mean == pytest.approx(0.6)
    metrics = read(work_dir, "distilled/seed1").metrics
    assert metrics == pytest.approx(
        {
            "AP": 34.0,
            "gap_closed/baseline": AGAINST_BASELINE[1],
            "gap_closed/baseline/mean": 0.6,
            "gap_closed/baseline/std": statistics.stdev(AGAINST_BASELINE),
            # only seed 0 has a control: (30 - 28) / (40 - 28)
            "gap_closed/control/mean": 2 / 12,
        }
    )


def test_linking_again_changes_nothing(outcome):
    runs, work_dir = outcome
    link_twins(runs, work_dir)
    before = read(work_dir, "distilled/seed0")
    link_twins(runs, work_dir)
    assert read(work_dir, "distilled/seed0") == before


def test_a_gap_that_is_no_longer_defined_disappears(outcome):
    runs, work_dir = outcome
    link_twins(runs, work_dir)
    write(work_dir, runs[0], 20.0)
    summary = link_twins(runs, work_dir)
    assert read(work_dir, "distilled/seed0").metrics == {"AP": 30.0}
    assert "the teacher (20.0) is not better" in gap_table(summary)


def test_no_gap_is_shown_while_a_kind_of_twin_is_missing(outcome):
    runs, work_dir = outcome
    link_twins(runs, work_dir)
    (work_dir / "control/seed0/record-accuracy.json").unlink()
    summary = link_twins(runs, work_dir)
    assert read(work_dir, "distilled/seed0").metrics == {"AP": 30.0}
    assert gap_table(summary).splitlines()[-1] == "no gain shown: control missing"
    assert "%" not in gap_table(summary)


def test_the_table_shows_every_seed_and_the_gap(outcome):
    runs, work_dir = outcome
    lines = gap_table(link_twins(runs, work_dir)).splitlines()
    assert [line.split() for line in lines[1:]] == [
        ["teacher", "40.0"],
        ["baseline", "20.0", "/", "20.0", "60", "+-", "14", "%", "(2", "seeds)"],
        ["control", "28.0", "17", "%", "(1", "seeds)"],
        ["distilled", "30.0", "/", "34.0"],
    ]


def test_a_variant_gets_the_gap_that_it_closed_itself(tmp_path, distilled, teacher):
    recipe = Recipe(name="toy", distilled=distilled, seeds=(0,), variants=(Variant("less"),))
    runs = plan_runs(recipe, teacher, tmp_path)
    for run in runs:
        score = {**SCORES, "variant-less/seed0": 22.0}[run.name]
        labels = {"role": run.role, "name": run.name, "seed": run.seed}
        record = Record(kind="accuracy", metrics={"NDS": score, "mAP": 1.0}, **labels)
        record.write(tmp_path / run.name / "record-accuracy.json")
    summary = link_twins(runs, tmp_path)
    varied = read(tmp_path, "variant-less/seed0")
    assert varied.metrics["gap_closed/baseline"] == pytest.approx(0.1)  # (22 - 20) / (40 - 20)
    assert varied.twin["control"] == "control/seed0"
    assert read(tmp_path, "distilled/seed0").metrics["gap_closed/baseline"] == pytest.approx(0.5)
    lines = gap_table(summary).splitlines()
    assert lines[0].split() == ["NDS", "of", "each", "seed", "gap", "closed"]
    assert "10 % vs baseline, -50 % vs control" in lines[-1]
