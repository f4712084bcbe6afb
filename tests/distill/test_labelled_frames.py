"""The task loss of a mixed batch is that of its labelled frames alone."""

import copy
from functools import partial

import pytest
import torch
import toys
import toys3d
import toys_pillars
from mmengine.runner import Runner
from torch import nn

import kd3d.datasets.unlabelled
import kd3d.models  # noqa: F401  (both register what the configs name)
from kd3d.distill.labelled_frames import LabelledFrames, check_separable
from kd3d.distill.probe import training_batch
from kd3d.errors import UserError
from kd3d.registry import LOSSES


def faster_rcnn():
    model = toys.retinanet()
    bbox_coder = model["bbox_head"]["bbox_coder"]
    model["type"] = "FasterRCNN"
    model["rpn_head"] = {
        "type": "RPNHead",
        "in_channels": 8,
        "feat_channels": 8,
        "anchor_generator": {
            "type": "AnchorGenerator",
            "scales": [2],
            "ratios": [1.0],
            "strides": [8, 16],
        },
        "bbox_coder": bbox_coder,
        "loss_cls": {"type": "CrossEntropyLoss", "use_sigmoid": True},
        "loss_bbox": {"type": "L1Loss"},
    }
    model["roi_head"] = {
        "type": "StandardRoIHead",
        "bbox_roi_extractor": {
            "type": "SingleRoIExtractor",
            "roi_layer": {"type": "RoIAlign", "output_size": 3, "sampling_ratio": 1},
            "out_channels": 8,
            "featmap_strides": [8, 16],
        },
        "bbox_head": {
            "type": "Shared2FCBBoxHead",
            "in_channels": 8,
            "fc_out_channels": 16,
            "roi_feat_size": 3,
            "num_classes": 2,
            "bbox_coder": bbox_coder,
            "loss_cls": {"type": "CrossEntropyLoss"},
            "loss_bbox": {"type": "L1Loss"},
        },
    }
    del model["bbox_head"]
    assigner = {**model["train_cfg"]["assigner"], "neg_iou_thr": 0.3}
    sampler = {"type": "RandomSampler", "num": 32, "pos_fraction": 0.5, "neg_pos_ub": -1}
    rcnn = {"assigner": {**assigner, "neg_iou_thr": 0.5}, "sampler": sampler, "pos_weight": -1}
    rcnn["sampler"] = {**sampler, "add_gt_as_proposals": True}
    proposals = {"nms_pre": 50, "max_per_img": 20, "nms": {"type": "nms", "iou_threshold": 0.7}}
    proposals["min_bbox_size"] = 0
    model["train_cfg"] = {
        "rpn": {"assigner": assigner, "sampler": sampler, "pos_weight": -1, "allowed_border": -1},
        "rpn_proposal": proposals,
        "rcnn": {**rcnn, "debug": False},
    }
    model["train_cfg"]["rpn"]["debug"] = False
    model["test_cfg"] = {"rpn": proposals, "rcnn": model["test_cfg"]}
    return model


def image_batch(model, count=4):
    from mmdet.structures import DetDataSample
    from mmengine.structures import InstanceData

    generator = torch.Generator().manual_seed(3)
    pictures = list(torch.randint(0, 256, (count, 3, 64, 64), generator=generator).byte())
    samples = []
    for index in range(count):
        sample = DetDataSample(metainfo={"img_shape": (64, 64)})
        corner = 6.0 * index
        sample.gt_instances = InstanceData(
            bboxes=torch.tensor([[corner, corner, corner + 20, corner + 24]]),
            labels=torch.tensor([index % 2]),
        )
        samples.append(sample)
    return model.data_preprocessor({"inputs": pictures, "data_samples": samples}, training=False)


def lidar_batch(model, count=4, columns=9):
    from mmdet3d.structures import Det3DDataSample, LiDARInstance3DBoxes
    from mmengine.structures import InstanceData

    samples = []
    for index in range(count):
        instances = InstanceData()
        box = [[index - 2.0, 1.0, -1.0, 2.0, 1.0, 1.0, 0.3, 0.5, 0.1]]
        instances.bboxes_3d = LiDARInstance3DBoxes(torch.tensor(box)[:, :columns], columns)
        instances.labels_3d = torch.tensor([index % 3])
        sample = Det3DDataSample(metainfo={})
        sample.gt_instances_3d = instances
        samples.append(sample)
    data = {"inputs": {"points": toys3d.points(count)}, "data_samples": samples}
    return model.data_preprocessor(data, training=False)


def seven_columns(model):
    """Boxes without velocities, as KITTI's."""
    return lidar_batch(model, columns=7)


def anchors(*, multi_view):
    model = toys_pillars.pointpillars(multi_view=multi_view)
    iou = {"type": "mmdet3d.BboxOverlapsNearest3D"}
    limits = {"pos_iou_thr": 0.3, "neg_iou_thr": 0.2, "min_pos_iou": 0.2, "ignore_iof_thr": -1}
    train = {
        "assigner": {"type": "Max3DIoUAssigner", "iou_calculator": iou, **limits},
        "allowed_border": 0,
        "code_weight": [1.0] * (9 if multi_view else 7),
        "pos_weight": -1,
        "debug": False,
    }
    return {**model, "train_cfg": {"pts": train} if multi_view else train}


CASES = {
    "single stage": (toys.retinanet, "mmdet", image_batch),
    "two stages": (faster_rcnn, "mmdet", image_batch),
    "centerpoint": (toys3d.centerpoint, "mmdet3d", lidar_batch),
    "anchors": (partial(anchors, multi_view=False), "mmdet3d", seven_columns),
    "anchors of points": (partial(anchors, multi_view=True), "mmdet3d", lidar_batch),
}


def case(name):
    config, scope, make = CASES[name]
    model = toys3d.built(config(), scope=scope).eval()  # batch norms join no frames
    batch = make(model)
    return model, batch


def chosen(batch, places, model):
    """The batch of some frames, made anew."""
    inputs = batch["inputs"]
    samples = [copy.deepcopy(batch["data_samples"][place]) for place in places]
    if isinstance(inputs, torch.Tensor):
        return {"inputs": inputs[places], "data_samples": samples}
    points = [inputs["points"][place] for place in places]
    return model.data_preprocessor({"inputs": {"points": points}, "data_samples": samples})


def unlabel(batch, places):
    for place in places:
        sample = batch["data_samples"][place]
        sample.set_metainfo({"labelled": False})
        for key in ("gt_instances", "gt_instances_3d"):
            if key in sample:
                setattr(sample, key, getattr(sample, key)[:0])


def flat(losses):
    return {
        key: torch.stack(value) if isinstance(value, list) else value
        for key, value in losses.items()
    }


@pytest.mark.parametrize("name", CASES)
def test_task_losses_are_those_of_the_labelled_frames_alone(name):
    model, batch = case(name)
    alone = chosen(batch, [1, 3], model)
    torch.manual_seed(5)
    expected = flat(model(**alone, mode="loss"))
    unlabel(batch, [0, 2])
    heads = []
    head = getattr(model, "pts_bbox_head", None) or getattr(model, "bbox_head", None)
    head = head or model.rpn_head
    head.register_forward_pre_hook(lambda module, args: heads.append(args[0][0].shape[0]))
    torch.manual_seed(5)
    with LabelledFrames(model):
        got = flat(model(**batch, mode="loss"))
    assert heads == [4]
    assert got.keys() == expected.keys()
    for key, value in expected.items():
        torch.testing.assert_close(got[key], value, rtol=1e-5, atol=1e-6, msg=key)
    assert sum(float(v.sum()) for k, v in got.items() if "loss" in k) > 0.1
    assert not model._forward_hooks
    assert not any(module._forward_hooks for module in model.modules())


@pytest.mark.parametrize("name", CASES)
def test_without_a_labelled_frame_the_loss_is_zero_with_a_graph(name):
    model, batch = case(name)
    unlabel(batch, range(4))
    with LabelledFrames(model):
        losses = flat(model(**batch, mode="loss"))
    assert all(bool((value == 0).all()) for value in losses.values())
    total = sum(value.sum() for key, value in losses.items() if "loss" in key)
    total.backward()
    reached = [p for p in model.parameters() if p.requires_grad and p.grad is not None]
    assert reached
    assert all(bool((p.grad == 0).all()) for p in reached)


def test_a_batch_of_labelled_frames_is_left_alone():
    model, batch = case("single stage")
    expected = flat(model(**copy.deepcopy(batch), mode="loss"))
    with LabelledFrames(model):
        got = flat(model(**batch, mode="loss"))
    assert all(torch.equal(got[key], value) for key, value in expected.items())


def test_detectors_whose_loss_reads_more_are_refused():
    model, _ = case("single stage")
    check_separable(model)
    model.mask_head = nn.Linear(1, 1)
    with pytest.raises(UserError, match="task loss of RetinaNet with mask_head cannot be"):
        check_separable(model)

    class DetectionTransformer(nn.Module):
        pass

    with pytest.raises(UserError, match="task loss of DetectionTransformer cannot be"):
        check_separable(DetectionTransformer())


def test_a_head_whose_output_is_not_by_frame_is_refused():
    model, batch = case("single stage")
    unlabel(batch, [0])
    model.bbox_head.register_forward_hook(
        lambda module, args, output: [[level[:1] for level in kind] for kind in output]
    )
    with (
        pytest.raises(UserError, match=r"bbox_head returns a tensor \(1, 2, 8, 8\) for 4 frames"),
        LabelledFrames(model),
    ):
        model(**batch, mode="loss")


@LOSSES.register_module(force=True)
class FrameCount(nn.Module):
    """Keeps how many frames it saw, and which were labelled."""

    seen: list = []  # noqa: RUF012

    def forward(self, student, teacher, *, labelled):
        self.seen.append((len(student), len(teacher), labelled.tolist()))
        return student.square().mean()


def test_in_training_pairs_see_all_frames_and_the_task_the_labelled(tmp_path):
    FrameCount.seen.clear()
    teacher = toys3d.teacher_config(tmp_path / "teacher.py", toys3d.centerpoint(8))
    pair = toys.neck_pair(student="pts_neck", teacher="pts_neck", loss={"type": "FrameCount"})
    config = toys3d.training(
        tmp_path,
        toys3d.centerpoint(),
        hooks=[
            {"type": "InitSeparateHeads"},
            toys.distill_hook(teacher, [pair], name="a"),
            toys.distill_hook(teacher, [{**pair, "name": "other"}], name="b"),
        ],
        iterations=3,
    )
    frames = config.train_dataloader.dataset
    config.train_dataloader = {
        "batch_size": 4,
        "num_workers": 0,
        "sampler": {"type": "mmdet.MultiSourceSampler", "batch_size": 4, "source_ratio": [1, 3]},
        "dataset": {
            "type": "ConcatDataset",
            "datasets": [{**frames, "indices": 2}, {"type": "Unlabelled", "dataset": frames}],
        },
    }
    runner = Runner.from_cfg(config)
    targets = []
    get_targets = runner.model.pts_bbox_head.get_targets

    def counted(instances):
        targets.append(len(instances))
        return get_targets(instances)

    runner.model.pts_bbox_head.get_targets = counted
    losses = []
    runner.register_hook(toys.Watch(lambda _, outputs: losses.append(outputs)))
    runner.train()
    assert FrameCount.seen[-2:] == [(4, 4, [True, False, False, False])] * 2
    assert targets[-3:] == [1, 1, 1]
    assert all(float(losses[-1][name]) > 0 for name in ("loss_neck", "loss_other"))
    assert not runner.model._forward_hooks
    assert not runner.model._forward_pre_hooks


@pytest.mark.parametrize("boxes", [False, True])
def test_a_pair_that_leaves_frames_out_says_so_before_training(boxes, tmp_path):
    teacher = toys3d.teacher_config(tmp_path / "teacher.py", toys3d.centerpoint(8))
    maps = {"student": "pts_neck", "teacher": "pts_neck", "loss": {"type": "BevFeature"}}
    mask = {"type": "GaussianForeground"}
    pairs = [toys.neck_pair(**maps), toys.neck_pair(name="masked", mask=mask, **maps)]
    labels = {"teacher": "pts_bbox_head", "unlabelled": boxes}
    hook = toys.distill_hook(teacher, pairs, additional_labels=labels)
    hooks = [{"type": "InitSeparateHeads"}, hook]
    config = toys3d.training(tmp_path, toys3d.centerpoint(), hooks=hooks, iterations=1)
    frames = config.train_dataloader.dataset
    parts = [{**frames, "indices": 2}, {"type": "Unlabelled", "dataset": frames}]
    config.train_dataloader.dataset = {"type": "ConcatDataset", "datasets": parts}
    runner = Runner.from_cfg(config)
    runner.train()
    notes = [note for note in toys.distilling(runner).notes if "without labels" in note]
    if boxes:
        assert notes == []
    else:
        (note,) = notes
        assert note.startswith("pair 'masked' reads boxes, so it leaves frames without labels out")


def test_the_batch_that_is_looked_at_before_training_has_frames_of_every_part(tmp_path):
    config = toys3d.training(tmp_path, toys3d.centerpoint())
    frames = config.train_dataloader.dataset
    config.train_dataloader.dataset = {
        "type": "ConcatDataset",
        "datasets": [{**frames, "indices": 3}, {"type": "Unlabelled", "dataset": frames}],
    }
    runner = Runner.from_cfg(config)
    runner._train_loop = runner.build_train_loop(runner._train_loop)
    batch = training_batch(runner, runner.model)
    assert [s.metainfo.get("labelled", True) for s in batch["data_samples"]] == [True, False]
