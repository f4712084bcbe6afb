import onnxruntime
import pytest
import torch
from mmdet.models.roi_heads.roi_extractors import SingleRoIExtractor
from torch import nn

from kd3d.export.graphs.onnx_model import onnx_from_model
from kd3d.export.networks.roi_features import roi_features

SIZES = [(16, 24), (8, 12), (4, 6)]


def extractor(levels=3, **settings):
    layer = {"type": "RoIAlign", "output_size": 3, "sampling_ratio": 0, **settings}
    return SingleRoIExtractor(layer, 4, [4, 8, 16][:levels], finest_scale=8)


def pyramid(levels=3):
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(2, 4, *size, generator=generator) for size in SIZES[:levels]]


def boxes_px():
    """(2, 40, 4), of sides from 2 to 60 px, and some on the border between two levels."""
    generator = torch.Generator().manual_seed(1)
    corner = torch.rand(2, 40, 2, generator=generator) * 40
    size = torch.rand(2, 40, 2, generator=generator) * 58 + 2
    size[:, :4] = torch.tensor([16.0, 16.0])
    return torch.cat([corner, corner + size], -1)


def as_mmdet(module, levels, boxes):
    image = torch.arange(2.0).repeat_interleave(boxes.shape[1])[:, None]
    return module(levels, torch.cat([image, boxes.reshape(-1, 4)], 1))


@pytest.mark.parametrize("levels", [1, 2, 3])
def test_equals_mmdets_extractor(levels):
    module, maps, boxes = extractor(levels), pyramid(levels), boxes_px()
    assert torch.equal(roi_features(module, maps, boxes), as_mmdet(module, maps, boxes))


def test_all_levels_are_used():
    rois = torch.cat([torch.zeros(80, 1), boxes_px().reshape(-1, 4)], 1)
    assert set(extractor().map_roi_levels(rois, 3).tolist()) == {0, 1, 2}


class Pooled(nn.Module):
    def __init__(self, module):
        super().__init__()
        self.module = module

    def forward(self, *tensors):
        return (roi_features(self.module, tensors[:-1], tensors[-1]),)


@pytest.mark.parametrize(
    "settings", [{}, {"sampling_ratio": 2}, {"aligned": False}], ids=["dense", "two", "legacy"]
)
def test_the_file_answers_the_same(settings, tmp_path):
    module, maps, boxes = extractor(**settings), pyramid(), boxes_px()
    feeds = dict(zip(["p2", "p3", "p4", "boxes"], [*maps, boxes], strict=True))
    path = onnx_from_model(Pooled(module), feeds, tmp_path / "m.onnx", output_names=["pooled"])
    session = onnxruntime.InferenceSession(str(path))
    (found,) = session.run(None, {name: tensor.numpy() for name, tensor in feeds.items()})
    expected = as_mmdet(module, maps, boxes)
    torch.testing.assert_close(torch.from_numpy(found), expected, rtol=1e-4, atol=1e-5)
