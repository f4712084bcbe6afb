import pytest
import torch
import toys
import toys3d
from mmdet3d.structures import Det3DDataSample, LiDARInstance3DBoxes
from mmengine.runner import Runner
from mmengine.structures import InstanceData
from torch import nn

import kd3d.datasets.unlabelled
import kd3d.models  # noqa: F401  (both register what the configs name)
from kd3d.bev_grid import BevGrid
from kd3d.distill.additional_labels import additional_labels
from kd3d.errors import UserError
from kd3d.heads import CenterPrediction, DensePrediction
from kd3d.registry import LOSSES

NAMES = ("car", "pedestrian")


def sample(boxes, labels, columns=9, **metainfo):
    made = Det3DDataSample(metainfo=metainfo)
    instances = InstanceData()
    tensor = torch.tensor(boxes).reshape(-1, columns)
    instances.bboxes_3d = LiDARInstance3DBoxes(tensor, box_dim=columns)
    instances.labels_3d = torch.tensor(labels, dtype=torch.int64)
    made.gt_instances_3d = instances
    return made


def prediction(frames):
    """Two cars of 1 x 1 x 1 m in each frame, at x 2.5 m (score 0.9) and 8.5 m (score 0.4)."""
    logits = torch.full((frames, 2, 3, 12), -9.0)
    logits[:, 0, 1, 2], logits[:, 0, 1, 8] = torch.tensor(9.0).log(), torch.tensor(4 / 6).log()
    regression = torch.zeros(frames, 1, 10, 3, 12)
    regression[:, :, :2] = 0.5
    regression[:, :, 7] = 1.0
    grid = BevGrid(0.0, 0.0, 12.0, 3.0, 3, 12)
    return CenterPrediction(logits, regression, (0, 0), NAMES, grid)


def added(config, samples):
    made = additional_labels(config, NAMES, where="DistillHook")
    return made(samples, prediction(len(samples)))


PERSON = [5.5, 1.5, 0.0, 0.5, 0.5, 1.0, 0.0, 0.0, 0.0]
CAR = [2.5, 1.5, -0.5, 1.0, 1.0, 1.0, 0.0, 0.0, 0.0]


def test_sure_boxes_follow_the_frames_own():
    given = sample([PERSON], [1])
    (new,) = added({"score_threshold": 0.5}, [given])
    torch.testing.assert_close(
        new.gt_instances_3d.bboxes_3d.tensor, torch.tensor([PERSON, CAR]), atol=1e-6, rtol=0
    )
    assert new.gt_instances_3d.labels_3d.tolist() == [1, 0]
    assert len(given.gt_instances_3d.labels_3d) == 1


def test_boxes_without_velocity_keep_seven_columns():
    (new,) = added({"score_threshold": 0.5}, [sample([PERSON[:7]], [1], columns=7)])
    assert new.gt_instances_3d.bboxes_3d.tensor.shape == (2, 7)


def test_frames_without_labels_are_labelled_only_where_asked():
    samples = [sample([PERSON], [1]), sample([], [], labelled=False)]
    kept = added({"score_threshold": 0.3}, samples)
    assert kept[1] is samples[1]
    assert len(kept[0].gt_instances_3d.labels_3d) == 3
    asked = added({"score_threshold": 0.3, "unlabelled": True}, samples)
    assert asked[1].gt_instances_3d.labels_3d.tolist() == [0, 0]
    assert asked[1].metainfo["labelled"] is True
    assert samples[1].metainfo["labelled"] is False


def test_an_unknown_option_is_refused():
    with pytest.raises(UserError, match=r"unknown \['treshold'\]; it has .*'score_threshold'"):
        additional_labels({"treshold": 0.5}, NAMES, where="DistillHook")


def test_what_is_no_dict_is_refused():
    with pytest.raises(UserError, match=r"^DistillHook: expected .*=dict\(teacher=.*, got True$"):
        additional_labels(True, NAMES, where="DistillHook")


@pytest.mark.parametrize("threshold", [1.0, 30, -0.1, float("nan"), "0.3", {"car": 0.3, "bus": 1}])
def test_a_score_threshold_that_no_score_or_every_box_passes_is_refused(threshold):
    with pytest.raises(UserError, match=r"score_threshold is .*, expected a number in \[0, 1\)"):
        additional_labels({"score_threshold": threshold}, NAMES, where="DistillHook")


@pytest.mark.parametrize("threshold", [0, 0.99, {"car": 0.3, "pedestrian": 0.0}])
def test_a_score_threshold_that_may_be(threshold):
    made = additional_labels({"score_threshold": threshold}, NAMES, where="DistillHook")
    assert made.options["score_threshold"] == threshold


def test_a_head_of_images_is_refused():
    made = additional_labels({}, NAMES, where="DistillHook")
    dense = DensePrediction(torch.zeros(1, 1, 2), torch.zeros(1, 1, 4))
    with pytest.raises(UserError, match="is a head of images"):
        made([sample([], [])], dense)


def test_a_student_trained_on_them_alone(tmp_path):
    """No pair, and frames without labels: what it learns is what the teacher found."""
    teacher = toys3d.teacher_config(tmp_path / "teacher.py", toys3d.centerpoint(8))
    hook = toys.distill_hook(
        teacher, [], additional_labels={"score_threshold": 0.01, "count": 2, "unlabelled": True}
    )
    config = toys3d.training(
        tmp_path, toys3d.centerpoint(), hooks=[{"type": "InitSeparateHeads"}, hook]
    )
    loader = config.train_dataloader
    loader.dataset = {"type": "Unlabelled", "dataset": loader.dataset}
    runner = Runner.from_cfg(config)
    counts, losses = [], []
    get_targets = runner.model.pts_bbox_head.get_targets

    def counted(instances):
        counts.append([len(each.labels_3d) for each in instances])
        return get_targets(instances)

    runner.model.pts_bbox_head.get_targets = counted
    runner.register_hook(toys.Watch(lambda _, outputs: losses.append(outputs)))
    runner.train()
    assert len(counts[-1]) == 2  # both frames of the batch
    assert all(count > 0 for count in counts[-1])
    assert float(losses[-1]["loss"].detach()) > 0
    assert float(losses[-1]["teacher_boxes"]) == sum(counts[-1]) / 2


SOME, NONE = (("Pedestrian",), ("Car", "truck")), (("Pedestrian",), ("Car", "Truck"))


@pytest.mark.parametrize(
    ("tasks", "declared", "absent"),
    [
        (SOME, None, r"\['car', 'pedestrian'\]"),
        (SOME, 3, None),
        (NONE, 3, r"\['car', 'truck', 'pedestrian'\]"),
    ],
)
def test_a_teacher_of_other_class_names_is_refused_unless_meant(tmp_path, tasks, declared, absent):
    """CenterHeads are matched by name: not one of its boxes would become a label."""
    teacher = toys3d.teacher_config(tmp_path / "teacher.py", toys3d.centerpoint(tasks=tasks))
    hook = toys.distill_hook(teacher, [], additional_labels={"score_threshold": 0.01})
    hook["teacher"]["num_classes"] = declared
    runner = Runner.from_cfg(toys3d.training(tmp_path, toys3d.centerpoint(), hooks=[hook]))
    if absent is None:
        runner.train()
        return
    with pytest.raises(UserError, match=f"knows no class {absent}"):
        runner.train()


@LOSSES.register_module(force=True)
class BoxCounts(nn.Module):
    """Keeps of how many boxes it was told, frame by frame, and whether they are labels."""

    needs_boxes = True
    seen: list = []  # noqa: RUF012

    def forward(self, student, teacher, *, boxes, labelled):
        self.seen.append((len(student), [len(frame) > 0 for frame in boxes], labelled.tolist()))
        return student.square().mean()


@pytest.mark.parametrize("unlabelled", [True, False])
def test_pairs_that_need_boxes_take_the_teachers_where_there_are_no_labels(tmp_path, unlabelled):
    BoxCounts.seen.clear()
    teacher = toys3d.teacher_config(tmp_path / "teacher.py", toys3d.centerpoint(8))
    pair = {"name": "bev", "student": "pts_neck[0]", "teacher": "pts_neck[0]"}
    hook = toys.distill_hook(
        teacher,
        [{**pair, "loss": {"type": "BoxCounts"}}],
        additional_labels={"score_threshold": 0.01, "count": 2, "unlabelled": unlabelled},
    )
    config = toys3d.training(
        tmp_path, toys3d.centerpoint(), hooks=[{"type": "InitSeparateHeads"}, hook]
    )
    frames = config.train_dataloader.dataset
    bare = {"type": "Unlabelled", "dataset": frames}
    config.train_dataloader.dataset = {"type": "ConcatDataset", "datasets": [frames, bare]}
    config.train_dataloader.sampler = {
        "type": "mmdet.MultiSourceSampler", "batch_size": 2, "source_ratio": [1, 1]
    }  # fmt: skip
    runner = Runner.from_cfg(config)
    runner.train()
    expected = (2, [True, True], [True, False]) if unlabelled else (1, [True], [True])
    assert BoxCounts.seen == [expected] * 3  # of preflight, and of two steps
