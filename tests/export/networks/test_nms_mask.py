import onnx
import onnxruntime
import pytest
import torch
from torch import nn

from kd3d.export.graphs.onnx_model import onnx_from_model
from kd3d.export.networks.nms_mask import STEPS, kept_by_nms


class Mask(nn.Module):
    def forward(self, boxes, scores):
        return (kept_by_nms(boxes, scores, 0.5),)


def greedy(boxes, scores, threshold):
    """NMS as its definition says."""
    kept = []
    for index in sorted(range(len(scores)), key=lambda i: -scores[i]):
        if scores[index] <= 0:
            continue
        overlaps = []
        for other in kept:
            low = torch.maximum(boxes[index, :2], boxes[other, :2])
            high = torch.minimum(boxes[index, 2:], boxes[other, 2:])
            inner = (high - low).clamp(min=0).prod()
            areas = [(boxes[i, 2:] - boxes[i, :2]).prod() for i in (index, other)]
            overlaps.append(inner / (sum(areas) - inner))
        if all(overlap <= threshold for overlap in overlaps):
            kept.append(index)
    return kept


def crowd(groups=3, count=30):
    generator = torch.Generator().manual_seed(0)
    corner = torch.rand(groups, count, 2, generator=generator) * 20
    size = torch.rand(groups, count, 2, generator=generator) * 20 + 5
    scores = torch.rand(groups, count, generator=generator)
    scores[:, ::7] = 0
    scores[2] = 0  # a group with nothing
    return torch.cat([corner, corner + size], -1), scores


def test_each_group_by_itself():
    boxes, scores = crowd()
    kept = kept_by_nms(boxes, scores, 0.5)
    assert 5 < kept[0].sum() < 26
    for group in range(3):
        expected = greedy(boxes[group], scores[group], 0.5)
        assert sorted(kept[group].nonzero().squeeze(-1).tolist()) == sorted(expected)


def chain(count):
    """Each overlaps its neighbours alone, and the one before it is better: every other is kept."""
    x = torch.arange(float(count)).reshape(1, count, 1) * 3
    boxes = torch.cat([x, x * 0, x + 10, x * 0 + 10], -1)
    return boxes, torch.linspace(1, 0.5, count).unsqueeze(0)


@pytest.mark.parametrize("count", [STEPS, STEPS + 1])
def test_a_chain_is_followed_to_its_end(count):
    boxes, scores = chain(count)
    kept = kept_by_nms(boxes, scores, 0.5)
    assert kept[0].nonzero().squeeze(-1).tolist() == list(range(0, count, 2))


def test_of_equal_boxes_the_first_is_kept():
    boxes = torch.tensor([[[0.0, 0, 10, 10]] * 3])
    assert kept_by_nms(boxes, torch.tensor([[0.5, 0.7, 0.7]]), 0.5).tolist() == [[0, 1, 0]]


def apart():
    corner = torch.arange(5.0).reshape(1, 5, 1) * 10
    return torch.cat([corner, corner * 0, corner + 5, corner * 0 + 5], -1), torch.ones(1, 5)


@pytest.mark.parametrize("case", [crowd, apart])
def test_the_file_answers_the_same(case, tmp_path):
    boxes, scores = case()
    path = onnx_from_model(
        Mask(), {"boxes": boxes, "scores": scores}, tmp_path / "m.onnx", output_names=["kept"]
    )
    session = onnxruntime.InferenceSession(str(path))
    (found,) = session.run(None, {"boxes": boxes.numpy(), "scores": scores.numpy()})
    assert torch.equal(torch.from_numpy(found), kept_by_nms(boxes, scores, 0.5))
    assert session.get_outputs()[0].shape == list(scores.shape)
    assert "NonMaxSuppression" not in {node.op_type for node in onnx.load(path).graph.node}
