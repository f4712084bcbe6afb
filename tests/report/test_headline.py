from dataclasses import replace

from kd3d.report.headline import caveats, headline
from kd3d.report.record import Record, find_records
from kd3d.report.summary import summarize


def summary_of(make_accuracy, tmp_path, aps: dict[str, float], extra: dict | None = None):
    records = {
        tmp_path / role: make_accuracy(role, 0, ap, tmp_path, parameters=7)
        for role, ap in aps.items()
    }
    return summarize({**records, **(extra or {})})


def test_headline_names_both_twins_and_the_seeds(tmp_path, make_work_dir):
    said = headline(summarize(find_records(make_work_dir(tmp_path))))
    assert said == (
        "Over 3 seeds, the distilled student reached AP 31.0 \u00b1 1.0, against 22.0 \u00b1 2.0 "
        "for the baseline (+9.0) and 25.0 \u00b1 1.0 for the control (+6.0). Gap to the teacher "
        "closed: 50 \u00b1 0 % vs baseline, 40 \u00b1 6 % vs control."
    )


def test_a_loss_is_said_plainly(tmp_path, make_accuracy):
    aps = {"teacher": 40.0, "baseline": 30.0, "control": 31.0, "distilled": 28.0}
    summary = summary_of(make_accuracy, tmp_path, aps)
    assert "was not helped: it reached AP 28.0" in headline(summary)
    assert "(-2.0)" in headline(summary)
    seeds = caveats(summary)[0]
    assert "the baseline in 0 of 1, the control in 0 of 1." in seeds
    assert "1 seed: too few" in seeds


def test_a_refusal_is_the_headline(tmp_path, make_work_dir):
    summary = summarize(find_records(make_work_dir(tmp_path, ("teacher", "distilled"))))
    assert headline(summary) == "No gain shown: baseline and control missing."
    assert not any("Seed by seed" in sentence for sentence in caveats(summary))


def test_schedule_split_and_weak_classes_are_said(tmp_path, make_accuracy):
    aps = {"teacher": 40.0, "baseline": 30.0, "control": 31.0, "distilled": 35.0}
    summary = summary_of(make_accuracy, tmp_path, aps)
    weak = replace(
        summary.groups["teacher"].runs[0], per_class={"car": {"AP": 1.0}, "person": {"AP": 99.0}}
    )
    summary.groups["teacher"].runs[0] = weak
    said = " ".join(caveats(summary))
    assert "All students were trained for 12 epochs;" in said
    assert f"Evaluated on 8 images of {tmp_path / 'data' / 'test.json'}." in said
    assert "not better than the baseline in 1 class(es): car." in said


def test_students_that_go_on_from_earlier_weights_are_told_so(tmp_path, make_accuracy):
    aps = {"teacher": 40.0, "baseline": 30.0, "control": 31.0, "distilled": 35.0}
    summary = summary_of(make_accuracy, tmp_path, aps)
    for role in ("baseline", "control", "distilled"):
        run = summary.groups[role].runs[0]
        start = {**run.conditions, "started_from": f"before/{role}/iter_9.pth"}
        summary.groups[role].runs[0] = replace(run, conditions=start)
    said = " ".join(caveats(summary))
    assert "went on for 12 epochs from weights of an earlier training: before/baseline/" in said
    assert "All students were trained" not in said


def test_a_teacher_that_is_overtaken_is_said_with_what_to_do(tmp_path, make_accuracy):
    aps = {"teacher": 42.7, "baseline": 47.5, "control": 40.0, "distilled": 39.8}
    said = " ".join(caveats(summary_of(make_accuracy, tmp_path, aps)))
    assert "Students reach this teacher without it" in said
    assert "stop=0.5" in said
    said = " ".join(caveats(summary_of(make_accuracy, tmp_path, {**aps, "baseline": 42.6})))
    assert "without it" not in said


def test_the_price_of_a_distilled_iteration_is_said(tmp_path, make_accuracy):
    aps = {"teacher": 40.0, "baseline": 30.0, "control": 31.0, "distilled": 35.0}
    training = {
        tmp_path / f"{role}-training": Record(
            kind="training", role=role, name=role, seed=0, metrics={"seconds_per_iter": seconds}
        )
        for role, seconds in (("baseline", 0.2), ("distilled", 0.25))
    }
    said = " ".join(caveats(summary_of(make_accuracy, tmp_path, aps, training)))
    assert "a distilled iteration took 1.25 times one of the baseline." in said  # 0.25 / 0.2


def test_a_synthetic_world_is_named_first(tmp_path, make_accuracy):
    world = {"data_root": "w", "version": "v1.0-trainval", "split": "test", "synthetic": "yes"}
    scores = {"teacher": 60.0, "baseline": 30.0, "control": 40.0, "distilled": 45.0}
    records = {
        tmp_path / role: make_accuracy(
            role,
            0,
            0.0,
            tmp_path,
            parameters=7,
            metrics={"NDS": nds, "mAP": 9.0},
            dataset=world,
            conditions={"frames": 40},
        )
        for role, nds in scores.items()
    }
    records[tmp_path / "training"] = Record(
        kind="training",
        role="distilled",
        name="distilled",
        seed=0,
        metrics={},
        conditions={"cache_fill_seconds": 31.6},
    )
    summary = summarize(records)
    assert headline(summary).startswith(
        "In a synthetic world, over 1 seed, the distilled student reached NDS 45.0, against 30.0 "
    )
    said = caveats(summary)
    assert said[0].startswith("Every figure here comes from a synthetic world")
    assert "Evaluated on 40 frames of test of w (v1.0-trainval)." in said
    assert any("cache was filled in 32 s" in sentence for sentence in said)


def test_who_learned_from_which_labels_is_said_where_some_have_none(tmp_path, make_accuracy):
    frames = {"teacher": (600, 0), "baseline": (60, 0), "distilled": (60, 540)}
    training = {
        tmp_path / f"{role}-training": Record(
            kind="training",
            role=role,
            name=role,
            seed=0,
            metrics={},
            conditions={"labelled_frames": labelled, "unlabelled_frames": without},
        )
        for role, (labelled, without) in frames.items()
    }
    aps = {"teacher": 40.0, "baseline": 30.0, "control": 31.0, "distilled": 35.0}
    said = caveats(summary_of(make_accuracy, tmp_path, aps, training))
    assert (
        "Training frames: teacher 600 labelled; baseline 60 labelled; distilled 60 labelled and "
        "540 unlabelled."
    ) in said
    training.pop(tmp_path / "distilled-training")
    said = caveats(summary_of(make_accuracy, tmp_path, aps, training))
    assert not any("Training frames" in sentence for sentence in said)
