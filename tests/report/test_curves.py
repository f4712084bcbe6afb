import json

from kd3d.report.curves import MAX_POINTS, loss_charts, read_losses
from kd3d.report.record import find_records
from kd3d.report.summary import summarize


def write(folder, lines: list) -> None:
    log = folder / "vis_data" / "scalars.json"
    log.parent.mkdir(parents=True)
    log.write_text("\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines))


def test_losses_of_a_resumed_run_are_joined_and_the_later_log_counts(tmp_path):
    write(
        tmp_path / "20260101_000000",
        [
            {"loss": 3.0, "loss_cls": 2.0, "lr": 0.1, "step": 10},
            {"loss": 2.0, "loss_cls": 1.0, "step": 20},
            {"coco/bbox_mAP": 0.1, "step": 1},
            {"loss": float("nan"), "loss_cls": 1.0, "step": 30},
            '{"loss": 1.0, "st',  # killed while writing
        ],
    )
    write(tmp_path / "20260102_000000", [{"loss": 1.5, "loss_cls": 0.5, "step": 20}])
    assert read_losses(tmp_path) == {
        "loss": {10: 3.0, 20: 1.5},
        "loss_cls": {10: 2.0, 20: 0.5, 30: 1.0},
    }
    assert read_losses(tmp_path / "20260101_000000") == {}  # no log below: nothing


def test_the_tasks_of_a_center_head_are_added_up(tmp_path):
    line = {"loss": 9.0, "task0.loss_heatmap": 2.0, "task1.loss_heatmap": 3.0, "step": 10}
    write(tmp_path / "20260101_000000", [{**line, "task0.loss_bbox": 4.0}])
    write(tmp_path / "20260102_000000", [line])  # resumed: not added to what was there
    assert read_losses(tmp_path) == {
        "loss": {10: 9.0},
        "loss_heatmap": {10: 5.0},
        "loss_bbox": {10: 4.0},
    }


def test_pair_losses_are_those_that_no_twin_has(tmp_path, make_work_dir):
    pairs, task = loss_charts(summarize(find_records(make_work_dir(tmp_path))))
    assert [("loss_neck" in chart, "loss_response" in chart) for chart in pairs] == [
        (True, False),
        (False, True),
    ]
    assert len(task) == 2
    assert "loss_cls" in task[0]
    # a mean and three seeds for each of three students
    assert task[0].count("<polyline") == 3 * (1 + 3)
    assert task[0].count("faint") == 3 * 3


def test_pair_losses_follow_the_training_record_where_there_is_no_twin(tmp_path, make_work_dir):
    work = make_work_dir(tmp_path, ("distilled",))
    summary = summarize(find_records(work))
    pairs, task = loss_charts(summary)
    assert (len(pairs), len(task)) == (2, 2)
    for record in work.rglob("record-training.json"):
        record.unlink()
    pairs, task = loss_charts(summarize(find_records(work)))
    assert (len(pairs), len(task)) == (0, 4)  # unknown which of the losses distillation added


def test_long_curves_are_thinned(tmp_path, make_work_dir):
    work = make_work_dir(tmp_path, ("baseline",))
    lines = [{"loss": 1.0, "loss_cls": 1.0, "step": step} for step in range(1, 10_000)]
    write(work / "baseline" / "seed0" / "20270101_000000", lines)
    _, task = loss_charts(summarize(find_records(work)))
    longest = max(chart.count(",") for chart in task[0].split("<polyline"))
    assert longest <= MAX_POINTS + 2


def test_no_student_no_curves(tmp_path, make_work_dir):
    assert loss_charts(summarize(find_records(make_work_dir(tmp_path, ("teacher",))))) == (
        [],
        [],
    )
