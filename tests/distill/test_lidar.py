"""What must hold of a distilled LiDAR detector, on mmdet3d's own classes with a real Runner."""

import pytest
import torch
import toys
import toys3d
import toys_pillars
from mmengine.runner import Runner
from torch import nn

from kd3d.distill.inspection import inspect_modules, inspect_pairs
from kd3d.distill.preflight import check_classes
from kd3d.distill.probe import training_batch
from kd3d.distill.recorder import FeatureRecorder, Tap
from kd3d.errors import UserError
from kd3d.registry import LOSSES

FOUR_METRES = [-8.0, -8.0, -2.0, 8.0, 8.0, 2.0]


def pts_pair(**changes):
    return toys.neck_pair(student="pts_neck[0]", teacher="pts_neck[0]", **changes)


def heat_pair(**changes):
    return {
        "name": "heat",
        "student": "pts_bbox_head",
        "teacher": "pts_bbox_head",
        "loss": {"type": "HeatmapResponse"},
        **changes,
    }


def hooks(teacher, pairs):
    return [{"type": "InitSeparateHeads"}, toys.distill_hook(teacher, pairs)]


@pytest.fixture
def teacher(tmp_path):
    return toys3d.teacher_config(tmp_path / "teacher.py", toys3d.centerpoint(8, pillar_m=0.2))


def test_two_steps_from_a_teacher_of_other_pillars(tmp_path, teacher):
    losses = []
    config = toys3d.training(
        tmp_path, toys3d.centerpoint(), hooks=hooks(teacher, [pts_pair(), heat_pair()])
    )
    runner = Runner.from_cfg(config)
    before = {key: value.clone() for key, value in runner.model.state_dict().items()}
    runner.register_hook(toys.Watch(lambda _, outputs: losses.append(outputs)))
    runner.train()
    assert len(losses) == 2
    assert all(float(losses[0][name]) > 0 for name in ("loss_neck", "loss_heat"))
    assert float(losses[0]["loss"]) < 100  # the heatmaps start almost empty
    assert runner.model.state_dict().keys() == before.keys()
    reports = toys.distilling(runner).reports
    assert "BevAlign" in reports[0].connector
    assert "student x -6.4 to 6.4 m, y -6.4 to 6.4 m, cells of 0.8 x 0.8 m" in reports[0].grids
    assert "teacher x -6.4 to 6.4 m, y -6.4 to 6.4 m, cells of 0.4 x 0.4 m" in reports[0].grids


def test_weights_of_zero_change_no_loss(tmp_path, teacher):
    never = {"start": 1.0, "warmup": 1e-9, "stop": 1e-9}
    losses = {}
    for name, added in (("plain", []), ("zero", [pts_pair(weight=never), heat_pair(weight=never)])):
        every = [{"type": "InitSeparateHeads"}]
        every += [toys.distill_hook(teacher, added)] if added else []
        runner = Runner.from_cfg(toys3d.training(tmp_path, toys3d.centerpoint(), hooks=every))
        seen = losses[name] = []
        runner.register_hook(toys.Watch(lambda _, outputs, seen=seen: seen.append(outputs)))
        runner.train()
    assert [
        {key: float(value.detach()) for key, value in step.items()} for step in losses["plain"]
    ] == [{key: float(value.detach()) for key, value in step.items()} for step in losses["zero"]]


def test_a_voxel_teacher_runs_on_the_cpu_up_to_its_last_tap(tmp_path):
    path = toys3d.teacher_config(tmp_path / "voxels.py", toys3d.voxel_centerpoint())
    config = toys3d.training(tmp_path, toys3d.centerpoint(), hooks=hooks(path, [pts_pair()]))
    runner = Runner.from_cfg(config)
    calls = []

    def look(runner, outputs):
        model = toys.distilling(runner).distiller.teacher.model
        if not calls:
            model.pts_bbox_head.register_forward_pre_hook(lambda *_: calls.append("head"))
            model.pts_middle_encoder.register_forward_pre_hook(lambda *_: calls.append("sparse"))

    runner.register_hook(toys.Watch(look))
    runner.train()
    assert calls == ["sparse"]
    report = toys.distilling(runner).reports[0]
    assert "teacher x -6.4 to 6.4 m, y -6.4 to 6.4 m, cells of 0.8 x 0.8 m" in report.grids


@LOSSES.register_module(force=True)
class RecordingLoss(nn.Module):
    """Keeps what a pair hands over."""

    given: list = []  # noqa: RUF012

    def forward(
        self, student, teacher, *, boxes, labels, labelled, student_grid, teacher_grid, mask
    ):
        self.given.append((boxes, labels, labelled, student_grid, teacher_grid, mask))
        return (student * mask).mean()


def test_a_loss_is_given_what_it_names(tmp_path, teacher):
    RecordingLoss.given.clear()
    mask = {"type": "GaussianForeground"}
    pair = pts_pair(loss={"type": "RecordingLoss"}, mask=mask)
    runner = Runner.from_cfg(
        toys3d.training(tmp_path, toys3d.centerpoint(), hooks=hooks(teacher, [pair]), iterations=1)
    )
    batches = []
    runner.register_hook(toys.WatchBatch(batches.append))
    runner.train()
    boxes, labels, labelled, student_grid, teacher_grid, mask = RecordingLoss.given[-1]
    expected = [sample.gt_instances_3d for sample in batches[0]["data_samples"]]
    assert len(expected) == 2
    for got, label, truth in zip(boxes, labels, expected, strict=True):
        assert got.shape == (3, 9)
        assert torch.equal(got, truth.bboxes_3d.tensor)  # z at the bottom, -1 m, as in the data
        assert torch.equal(got[:, 2], torch.full((3,), -1.0))
        assert torch.equal(label, truth.labels_3d)
    assert labelled.tolist() == [True, True]
    assert student_grid == teacher_grid  # BevAlign has brought the student's map there
    assert (teacher_grid.rows, teacher_grid.columns, teacher_grid.cell_x_m) == (32, 32, 0.4)
    assert mask.shape == (2, 1, 32, 32)
    assert float(mask.max()) == pytest.approx(1.0, abs=0.01)


@LOSSES.register_module(force=True)
class GridLoss(nn.Module):
    """Keeps the grids that a pair hands over."""

    given: list = []  # noqa: RUF012

    def forward(self, student, teacher, *, student_grid, teacher_grid):
        self.given.append((student_grid, teacher_grid))
        return student.square().mean()


def test_without_a_connector_grids_are_those_of_the_taps(tmp_path, teacher):
    pair = pts_pair(loss={"type": "GridLoss"}, connector=None)
    inspect_pairs(toys3d.training(tmp_path, toys3d.centerpoint(), hooks=hooks(teacher, [pair])))
    student_grid, teacher_grid = GridLoss.given[-1]
    assert (student_grid.rows, student_grid.columns, student_grid.cell_x_m) == (16, 16, 0.8)
    assert (teacher_grid.rows, teacher_grid.columns, teacher_grid.cell_x_m) == (32, 32, 0.4)


def test_where_the_student_sees_nothing_the_mask_is_zero(tmp_path):
    RecordingLoss.given.clear()
    wide = toys3d.centerpoint(8, extent=FOUR_METRES)
    path = toys3d.teacher_config(tmp_path / "wide.py", wide)
    mask = {"type": "GaussianForeground", "background": 0.5}
    pair = pts_pair(loss={"type": "RecordingLoss"}, mask=mask)
    config = toys3d.training(tmp_path, toys3d.centerpoint(), hooks=hooks(path, [pair]))
    found = inspect_pairs(config)["distill"]
    mask = RecordingLoss.given[-1][-1]
    assert mask.shape == (2, 1, 20, 20)  # 16 m in cells of 0.8 m; the student has the inner 16
    assert float(mask[:, :, :2].max()) == float(mask[..., -2:].max()) == 0.0
    assert float(mask[:, :, 2:-2, 2:-2].min()) == 0.5
    assert "36 % of the teacher's map is beyond" in found.text  # 1 - (16 / 20) ** 2
    assert "note: the teacher sees x -8 to 8 m" in found.text


def test_center_heads_loss_does_not_reach_what_was_recorded(tmp_path):
    config = toys3d.training(tmp_path, toys3d.centerpoint())
    runner = Runner.from_cfg(config)
    runner.call_hook("before_run")
    runner._train_loop = runner.build_train_loop(runner._train_loop)
    batch = training_batch(runner, runner.model)
    model = runner.model.eval()
    taps = [Tap.parse("pts_bbox_head"), Tap.parse("pts_bbox_head.task_heads.0[heatmap]")]
    recorder = FeatureRecorder(model, taps, owner="student")
    recorder.start()
    model(**batch, mode="loss")
    seen = recorder.finish()
    _, features = model.extract_feat(batch["inputs"], [{}, {}])
    expected = model.pts_bbox_head(features)[0][0]
    recorded = seen[taps[0]][0][0]
    assert recorded.keys() == expected.keys()  # the loss adds 'anno_box' to its own dict
    assert torch.equal(recorded["heatmap"], expected["heatmap"])
    assert torch.equal(seen[taps[1]], expected["heatmap"])
    assert recorded["heatmap"].requires_grad


def test_other_classes_and_another_order_are_refused():
    student = toys3d.built(toys3d.centerpoint())
    more = toys3d.built(toys3d.centerpoint(tasks=(("car", "truck"), ("pedestrian", "bus"))))
    with pytest.raises(UserError, match="student tells 3 classes apart, the teacher 4"):
        check_classes(student, more, None)
    order = toys3d.built(toys3d.centerpoint(tasks=(("pedestrian",), ("car", "truck"))))
    says = r"class 0 is 'car' to the student and 'pedestrian' to the teacher \(3 of 3 differ\)"
    with pytest.raises(UserError, match=says):
        check_classes(student, order, None, names=(toys3d.CLASSES, toys3d.CLASSES))
    check_classes(student, order, None, by_number=False)
    check_classes(student, toys3d.built(toys3d.centerpoint()), None)


def test_of_two_stages_the_one_that_tells_more_classes_counts():
    """Proposals are of one class in mmdet, regions in PointRCNN."""

    def two_stages(proposals, regions):
        model = nn.Module()
        model.rpn_head, model.roi_head = nn.Module(), nn.Module()
        model.roi_head.bbox_head = nn.Module()
        model.rpn_head.num_classes, model.roi_head.bbox_head.num_classes = proposals, regions
        return model

    check_classes(two_stages(3, 1), two_stages(1, 3), None)
    with pytest.raises(UserError, match="student tells 3 classes apart, the teacher 2"):
        check_classes(two_stages(3, 1), two_stages(1, 2), None)


def test_tasks_in_another_order_teach_where_nothing_is_matched_by_number(tmp_path):
    tasks = (("pedestrian",), ("car", "truck"))
    path = toys3d.teacher_config(tmp_path / "order.py", toys3d.centerpoint(8, tasks=tasks))

    def distilled(pairs, **changes):
        every = hooks(path, pairs)
        every[-1].update(changes)
        return toys3d.training(tmp_path, toys3d.centerpoint(), hooks=every, iterations=1)

    Runner.from_cfg(distilled([heat_pair(), pts_pair()], additional_labels={})).train()
    heat = "pts_bbox_head.task_heads.0[heatmap]"
    other = toys.neck_pair(name="other", student=heat, teacher=heat)
    with pytest.raises(UserError, match="'car' to the student and 'pedestrian' to the teacher"):
        Runner.from_cfg(distilled([heat_pair(), other])).train()


def test_the_boxes_of_an_anchor_head_are_matched_by_number(tmp_path):
    data = {"dataset": {"metainfo": {"classes": toys3d.CLASSES[::-1]}}}
    path = tmp_path / "anchors.py"
    toys3d.teacher_config(path, toys_pillars.pointpillars(), train_dataloader=data)
    every = hooks(str(path), [])
    every[-1]["additional_labels"] = {"teacher": "bbox_head"}
    config = toys3d.training(tmp_path, toys3d.centerpoint(), hooks=every)
    with pytest.raises(UserError, match="'car' to the student and 'pedestrian' to the teacher"):
        Runner.from_cfg(config).train()


def test_modules_of_a_teacher_are_shown_on_its_own_voxels(tmp_path, teacher):
    config = toys3d.training(tmp_path, toys3d.centerpoint(), hooks=hooks(teacher, [pts_pair()]))
    found = inspect_modules(config)
    outputs = {out.name: out.output for out in found["teacher of distill"]}
    assert outputs["pts_middle_encoder"] == "tensor (2, 8, 64, 64)"  # 12.8 m in pillars of 0.2 m
