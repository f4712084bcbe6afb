"""A pair by itself: what it hands to its loss, of maps and of frames."""

import re

import pytest
import torch
from torch import nn

import kd3d.losses.affinity
from kd3d.bev_grid import BevGrid
from kd3d.connectors.channels import Conv1x1
from kd3d.distill.pair_config import pair_from_config
from kd3d.distill.scene import Scene
from kd3d.distill.truth import Truth
from kd3d.errors import UserError
from kd3d.heads import CenterPrediction
from kd3d.losses.affinity import Affinity, spread_cells
from kd3d.registry import LOSSES

NEAR = (-8.0, -8.0, -5.0, 8.0, 8.0, 3.0)  # in cells of 1 m: 16 x 16
FAR = (-16.0, -16.0, -5.0, 16.0, 16.0, 3.0)  # 32 x 32, NEAR's in their midst


def box(x, y, dx=4.0, dy=2.0):
    return torch.tensor([[x, y, -1.0, dx, dy, 1.5, 0.0, 0.0, 0.0]])


def truth_of(*boxes, unlabelled=(), unknown=()):
    labels = [torch.zeros(len(each), dtype=torch.long) for each in boxes]
    flags = torch.tensor([place not in {*unlabelled, *unknown} for place in range(len(boxes))])
    return Truth(list(boxes), labels, flags, unknown)


def compared(loss, student, teacher, truth=None, *, connector="auto", mask=None, guide=None):
    """The loss of a pair whose student sees NEAR and whose teacher sees FAR."""
    config = {"name": "bev", "student": "neck", "teacher": "neck", "loss": loss}
    pair = pair_from_config(config if mask is None else {**config, "mask": mask})
    scene = Scene(truth, NEAR, FAR, guide)
    pair.build_connectors(connector, student, teacher, torch.device("cpu"), scene)
    assert bool(len(pair.connectors)) == (connector == "auto")
    return pair(student, teacher, heads=(None, None), progress=0.0, scene=scene)


def random_maps(channels=4):
    generator = torch.Generator().manual_seed(0)
    student = torch.randn(1, channels, 16, 16, generator=generator)
    return student, torch.randn(1, channels, 32, 32, generator=generator)


def test_affinity_looks_at_the_whole_map_behind_a_connector(monkeypatch):
    """Where weights are equal the heaviest cells would be the first row's."""
    student, teacher = random_maps()
    chosen = []

    def noting(rows, columns, count, device):
        chosen.append((rows, columns, count))
        return spread_cells(rows, columns, count, device)

    monkeypatch.setattr(kd3d.losses.affinity, "spread_cells", noting)
    loss = {"type": "Affinity", "positions": 64}
    received = compared(loss, student, teacher)
    assert chosen == [(32, 32, 64)]
    # on these grids a resampled cell is the student's own, as it is without a connector
    expected = compared(loss, student, teacher, connector=None)
    torch.testing.assert_close(received, expected)
    for row in (8, 12, 16, 20):  # of every part of what the student sees
        changed = teacher.clone()
        changed[:, :, row : row + 4] += 3.0
        assert abs(compared(loss, student, changed) - received) > 1e-5


def test_affinity_leaves_out_what_the_student_does_not_see_behind_a_connector():
    student, teacher = random_maps()
    received = compared({"type": "Affinity"}, student, teacher)
    teacher[..., :8], teacher[..., :8, :] = 99.0, -99.0  # beyond -8 m
    torch.testing.assert_close(compared({"type": "Affinity"}, student, teacher), received)


def test_affinity_in_a_mask_keeps_to_the_mask():
    """Equal where the box is: 9 cells of the mask; everywhere else they differ."""
    student, teacher = random_maps()
    student[..., 6:10, 6:10] = teacher[..., 14:18, 14:18]
    loss, mask = {"type": "Affinity"}, {"type": "GaussianForeground", "min_radius": 1}
    truth = truth_of(box(0.5, 0.5, 0.3, 0.3))
    assert compared(loss, student, teacher, truth, mask=mask).item() == pytest.approx(0, abs=1e-9)
    assert compared(loss, student, teacher, truth).item() > 0.01


@pytest.mark.parametrize("loss", ["BoxPoints", "Affinity"])
def test_points_that_the_student_does_not_see_have_no_say_behind_a_connector(loss):
    """Two boxes over the edge of the student's range; beyond 8 m the teacher has something else."""
    generator = torch.Generator().manual_seed(1)
    student = torch.randn(1, 3, 16, 16, generator=generator)
    teacher = torch.randn(1, 3, 32, 32, generator=generator)
    truth = truth_of(torch.cat([box(7.4, 0.0), box(7.4, 5.0)]))
    settings = {"type": loss, **({"between": "boxes"} if loss == "Affinity" else {})}
    received = compared(settings, student, teacher, truth)
    expected = compared(settings, student, teacher, truth, connector=None)
    assert expected > 0.01
    torch.testing.assert_close(received, expected)
    teacher[..., 24:] += 5.0  # bilinear values at 7.4 m read nothing of column 24, at 8.5 m
    torch.testing.assert_close(compared(settings, student, teacher, truth), received)


def test_box_points_beyond_the_students_range_by_hand():
    """Three points of nine at 4.9 m, three at 7.9 m; those at 10.9 m would add 5 each."""
    student, teacher = torch.zeros(1, 1, 16, 16), torch.ones(1, 1, 32, 32)
    teacher[..., 25:] = 5.0
    truth = truth_of(box(7.9, 0.0, 6.0))
    loss = {"type": "BoxPoints", "relation_weight": 0.0}
    assert compared(loss, student, teacher, truth).item() == pytest.approx((3 + 3) / 6)


@pytest.mark.parametrize(
    ("loss", "expected"), [("BoxPoints", True), ("BevFeature", True), ("FeatureL2", False)]
)
def test_a_pair_knows_whether_it_leaves_out_what_the_student_does_not_see(loss, expected):
    pair = pair_from_config(
        {"name": "bev", "student": "neck", "teacher": "neck", "loss": {"type": loss}}
    )
    assert pair.leaves_out_beyond is expected


NONE = torch.zeros(0, 9)
TWO = torch.cat([box(-3.0, 2.0), box(4.0, -4.0)])
GAUSSIAN = {"type": "GaussianForeground"}
NEEDING = {
    "feature": ({"type": "BevFeature"}, GAUSSIAN),
    "background": ({"type": "BevFeature"}, {**GAUSSIAN, "background": 0.05}),
    "points": ({"type": "BoxPoints"}, None),
    "boxes": ({"type": "Affinity", "between": "boxes"}, None),
    "cells": ({"type": "Affinity"}, GAUSSIAN),
}
needing = pytest.mark.parametrize("name", NEEDING)


def four_frames(seed=2):
    generator = torch.Generator().manual_seed(seed)
    student = torch.randn(4, 4, 16, 16, generator=generator)
    return student.requires_grad_(), torch.randn(4, 4, 32, 32, generator=generator)


@needing
def test_frames_of_unknown_boxes_weigh_nothing(name):
    """Added to two labelled frames they would halve the loss, if they counted as 0."""
    loss, mask = NEEDING[name]
    student, teacher = four_frames()
    both = truth_of(TWO, TWO - 1.0)
    expected = compared(loss, student[::2], teacher[::2], both, mask=mask)
    mixed = truth_of(TWO, NONE, TWO - 1.0, NONE, unknown=(1, 3))
    received = compared(loss, student, teacher, mixed, mask=mask)
    assert received > 0.01
    torch.testing.assert_close(received, expected)
    received.backward()
    assert (student.grad[1::2] == 0).all()
    assert (student.grad[::2] != 0).any()


@needing
def test_labelled_frames_without_objects_count(name):
    loss, mask = NEEDING[name]
    student, teacher = four_frames()
    mixed = truth_of(TWO, NONE, NONE, NONE, unknown=(2, 3))
    received = compared(loss, student, teacher, mixed, mask=mask)
    expected = compared(loss, student[:2], teacher[:2], truth_of(TWO, NONE), mask=mask)
    torch.testing.assert_close(received, expected)
    if name != "background":  # there, cells without objects weigh something
        alone = compared(loss, student[:1], teacher[:1], truth_of(TWO), mask=mask)
        torch.testing.assert_close(received, alone / 2)


@needing
def test_the_teachers_boxes_make_a_frame_known(name):
    """It stays unlabelled, to those that ask, but its boxes are there."""
    loss, mask = NEEDING[name]
    student, teacher = four_frames()
    boxes = (TWO, TWO - 1.0, TWO + 1.0, NONE)
    received = compared(loss, student, teacher, truth_of(*boxes, unlabelled=(1, 3)), mask=mask)
    expected = compared(loss, student, teacher, truth_of(*boxes), mask=mask)
    torch.testing.assert_close(received, expected, rtol=0, atol=0)


@needing
def test_a_batch_of_unknown_frames_alone_is_zero_with_a_graph(name):
    loss, mask = NEEDING[name]
    student, teacher = four_frames()
    received = compared(loss, student, teacher, truth_of(*[NONE] * 4, unknown=range(4)), mask=mask)
    assert received.item() == 0
    received.backward()
    assert (student.grad == 0).all()


def test_connectors_are_in_the_graph_of_a_batch_of_unknown_frames():
    """DDP waits for the gradient of every parameter."""
    config = {"name": "bev", "student": "neck", "teacher": "neck", "loss": {"type": "BoxPoints"}}
    pair = pair_from_config(config)
    student, teacher = four_frames()
    scene = Scene(truth_of(*[NONE] * 4, unknown=range(4)), NEAR, FAR)
    pair.build_connectors("auto", student[:, :3], teacher, torch.device("cpu"), scene)
    pair(student[:, :3], teacher, heads=(None, None), progress=0.0, scene=scene).backward()
    gradients = [parameter.grad for parameter in pair.connectors.parameters()]
    assert gradients
    assert all((gradient == 0).all() for gradient in gradients)


@pytest.mark.parametrize("loss", ["BevFeature", "Affinity", "FeatureL2"])
def test_losses_that_need_no_boxes_are_the_mean_over_all_frames(loss):
    student, teacher = four_frames()
    mixed = truth_of(TWO, NONE, TWO, NONE, unknown=(1, 3))
    received = compared({"type": loss}, student, teacher, mixed)
    singles = [compared({"type": loss}, student[i : i + 1], teacher[i : i + 1]) for i in range(4)]
    assert len({single.item() for single in singles}) == 4
    torch.testing.assert_close(received, torch.stack(singles).mean())


def test_regions_are_told_in_all_frames_and_where_there_are_no_labels_by_the_teacher_alone():
    """As in the shipped recipe of few labels: it makes no difference that additional_labels add."""
    student, teacher = four_frames()
    logits = torch.full((4, 1, 32, 32), -9.0)
    logits[:, :, 12:15, 18:21] = 3.0
    grid = BevGrid.over(FAR, (32, 32))
    guide = CenterPrediction(logits, torch.zeros(4, 1, 10, 32, 32), (0,), ("car",), grid)
    loss, mask = {"type": "BevFeature"}, {"type": "RegionMask", "teacher": "pts_bbox_head"}
    added = truth_of(TWO, TWO - 1.0, TWO + 1.0, TWO, unlabelled=(2, 3))
    received = compared(loss, student, teacher, added, mask=mask, guide=guide)
    bare = truth_of(TWO, TWO - 1.0, NONE, NONE, unknown=(2, 3))
    expected = compared(loss, student, teacher, bare, mask=mask, guide=guide)
    torch.testing.assert_close(received, expected, rtol=0, atol=0)
    received.backward()
    assert (student.grad != 0).flatten(1).any(1).all()


@LOSSES.register_module(force=True)
class NeedsBoxes(nn.Module):
    """Of images as of points: keeps what it is given, and asks for known boxes alone."""

    needs_boxes = True
    given: list = []  # noqa: RUF012

    def forward(self, student, teacher, *, boxes, labels, labelled):
        self.given.append((len(student), len(teacher), len(boxes), len(labels), labelled.tolist()))
        return (student - teacher).square().mean()


def test_images_keep_the_same_rule_on_every_level():
    NeedsBoxes.given.clear()
    config = {"name": "fpn", "student": "neck", "teacher": "neck", "loss": {"type": "NeedsBoxes"}}
    pair = pair_from_config(config)
    students = [torch.randn(3, 2, size, size) for size in (8, 4)]
    teachers = [torch.randn(3, 2, size, size) for size in (8, 4)]
    corners = torch.tensor([[0.0, 0.0, 4.0, 4.0]])
    truth = truth_of(corners, corners[:0], corners[:0], unknown=(1,))
    scene = Scene(truth)
    received = pair(students, teachers, heads=(None, None), progress=0.0, scene=scene)
    assert NeedsBoxes.given == [(2, 2, 2, 2, [True, True])] * 2
    pairs = zip(students, teachers, strict=True)
    expected = [(s - t)[::2].square().mean() for s, t in pairs]
    torch.testing.assert_close(received, torch.stack(expected).mean())


@pytest.mark.parametrize(
    "parts",
    [
        {"loss": {"type": "BevFeature"}, "mask": {"type": "GaussianForeground"}},
        {"loss": {"type": "BoxPoints"}},
    ],
    ids=["mask", "loss"],
)
def test_what_reads_metres_is_refused_for_images(parts):
    pair = pair_from_config({"name": "image", "student": "neck", "teacher": "neck", **parts})
    student, teacher = torch.zeros(1, 4, 8, 8, requires_grad=True), torch.zeros(1, 4, 8, 8)
    scene = Scene(truth_of(box(0.0, 0.0)))
    with pytest.raises(UserError, match="no point_cloud_range; use it with 3D detectors on BEV"):
        pair(student, teacher, heads=(None, None), progress=0.0, scene=scene)


def test_maps_that_are_not_by_frame_cannot_leave_frames_out():
    config = {"name": "fpn", "student": "neck", "teacher": "neck", "loss": {"type": "NeedsBoxes"}}
    views = torch.randn(6, 2, 4, 4)  # two of each frame
    truth = truth_of(NONE, NONE, NONE, unknown=(1,))
    with pytest.raises(UserError, match=r"pair 'fpn' .* tensor \(6, 2, 4, 4\) for 3 frames"):
        pair_from_config(config)(views, views, heads=(None, None), progress=0.0, scene=Scene(truth))


NECK = {"name": "neck", "student": "neck", "teacher": "neck"}
TAUGHT = {**NECK, "loss": {"type": "ChannelWiseDivergence"}}
FALLING = {"start": 4.0, "end": 1.0, "shape": "linear"}


@pytest.mark.parametrize(
    "temperature",
    [
        {**FALLING, "start": 0.0},
        {**FALLING, "start": 0.0, "end": 0.0},
        {**FALLING, "warmup": 0.1},
        {**FALLING, "stop": 0.7},
        0.0,
    ],
)
def test_a_temperature_that_is_zero_while_the_weight_is_not_is_refused(temperature):
    """The losses refuse it: at a stop, that is after most of the training."""
    weight = {"start": 1.0, "stop": 0.8}
    with pytest.raises(UserError, match=r"'neck': temperature: .* is 0 at some time.*\(0\.8\)"):
        pair_from_config({**TAUGHT, "weight": weight, "temperature": temperature})


@pytest.mark.parametrize("shape", ["linear", "cosine"])
def test_a_temperature_that_falls_towards_zero_is_refused(shape):
    """No iteration reaches it, but losses divide by it."""
    temperature = {"start": 4, "end": 0, "shape": shape}
    with pytest.raises(UserError, match=r"'neck': temperature: .* falls towards 0, expected one"):
        pair_from_config({**TAUGHT, "temperature": temperature})


def test_a_temperature_may_stop_with_the_weight():
    weight = {"start": 1.0, "stop": 0.8, "warmup": 0.1}
    pair = pair_from_config({**TAUGHT, "weight": weight, "temperature": {**FALLING, "stop": 0.8}})
    assert pair.temperature.at(0.4) == 4.0 - 3.0 * 0.4 / 0.8
    assert pair.temperature.stopped(0.8)
    assert pair.weight.stopped(0.8)


@pytest.mark.parametrize("kind", ["Affinity", Affinity, "kd3d.losses.affinity.Affinity"])
def test_a_loss_is_named_by_its_class_too(kind):
    config = {"name": "bev", "student": "neck", "teacher": "neck", "loss": {"type": kind}}
    assert type(pair_from_config(config).loss) is Affinity


@pytest.mark.parametrize("place", [f"{__name__}.NeedsBoxes", "kd3d.NeedsBoxes"])
def test_a_users_own_loss_is_named_by_its_place(place):
    """As MMEngine writes a class into the config of a run, from which the run is resumed."""
    pair = pair_from_config({**NECK, "loss": {"type": place}})
    assert type(pair.loss) is LOSSES.get("NeedsBoxes")


def test_a_connector_that_is_a_class_is_told_the_channels():
    connector = {"type": Conv1x1}
    student, teacher = random_maps(4)
    pair = pair_from_config(
        {"name": "bev", "student": "neck", "teacher": "neck", "loss": {"type": "FeatureL2"}}
    )
    pair.build_connectors(connector, student, teacher, torch.device("cpu"), Scene(None, None, None))
    assert [type(module) for module in pair.connectors] == [Conv1x1]


@pytest.mark.parametrize(
    "kind", [type("Affinity", (nn.Module,), {}), "mmdet.Affinity", "torch.nn.Affinity", None]
)
def test_a_loss_of_others_is_refused(kind):
    config = {"name": "bev", "student": "neck", "teacher": "neck", "loss": {"type": kind}}
    with pytest.raises(UserError, match="pair 'bev': loss: no type"):
        pair_from_config(config)


def test_a_tap_on_several_outputs_is_told_an_index_that_it_has():
    """As of a GridHead, which gives {fused, unfused}, and of a dense head, which gives a tuple."""
    maps = torch.zeros(2, 9, 28, 28)
    for output, expected in (
        ({"fused": maps, "unfused": maps}, "such as neck[fused]"),
        (([maps], [maps]), "such as neck[0]"),
    ):
        with pytest.raises(UserError, match=re.escape(expected)):
            compared({"type": "FeatureL2"}, output, output)
