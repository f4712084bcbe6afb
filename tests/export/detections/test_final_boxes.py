import pytest
import torch
from mmdet.structures import DetDataSample

from kd3d.errors import UserError
from kd3d.export.detections.final_boxes import PostProcessing, final_boxes, post_processing
from kd3d.export.networks.deployable import deployable

META = {
    "img_shape": (60, 90),
    "ori_shape": (120, 176),
    "scale_factor": (0.5, 0.51),
    "pad_shape": (64, 96),
    "batch_input_shape": (64, 96),
}
NMS = {"type": "nms", "iou_threshold": 0.5}


def test_equal_to_predict_of_mmdet(family, build):
    detector, _ = build(family)
    module = deployable(detector, image_size=META["img_shape"])
    images = torch.randn(2, 3, 64, 96, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        samples = [DetDataSample(metainfo=META) for _ in range(2)]
        expected = [sample.pred_instances for sample in detector.predict(images, samples)]
        outputs = dict(zip(module.output_names, module(images), strict=True))
    for index in range(2):
        found = final_boxes(
            outputs["boxes"][index],
            outputs["scores"][index],
            module.postprocessing,
            factors=outputs["factors"][index] if "factors" in outputs else None,
            level_sizes=module.level_sizes(images),
            image_shape=META["img_shape"],
            scale_factor=META["scale_factor"],
        )
        assert len(found.labels) > 5
        assert torch.equal(found.labels, expected[index].labels)
        torch.testing.assert_close(found.scores, expected[index].scores)
        torch.testing.assert_close(found.boxes, expected[index].bboxes)


def test_only_centerness_needs_factors(family, build):
    names = deployable(build(family)[0]).output_names
    assert (len(names) == 3) == (family in ("fcos", "atss"))


def test_candidates_are_limited_by_level_and_before_the_factor():
    boxes = torch.tensor([[0, 0, 1, 1], [2, 0, 3, 1], [4, 0, 5, 1], [6, 0, 7, 1.0]])
    classes = torch.tensor([0.5, 0.6, 0.7, 0.4])  # what the candidates are chosen by
    factors = torch.tensor([1.0, 0.1, 0.5, 1.0])
    settings = PostProcessing(0.45, NMS, nms_pre=1)
    found = final_boxes(
        boxes, (classes * factors)[:, None], settings, factors=factors, level_sizes=[2, 2]
    )
    # best of rows 0, 1 by class is row 1, of rows 2, 3 it is row 2; ranked by the product
    assert found.scores.tolist() == pytest.approx([0.35, 0.06])
    assert found.boxes[:, 0].tolist() == [4, 2]


def test_classes_do_not_suppress_each_other_and_one_label_takes_the_best():
    boxes = torch.tensor([[0, 0, 4, 4.0], [0, 0, 4, 3.9]])
    scores = torch.tensor([[0.9, 0.8], [0.1, 0.7]])
    many = final_boxes(boxes, scores, PostProcessing(0.05, NMS))
    assert [
        (label, round(score, 1))
        for label, score in zip(many.labels.tolist(), many.scores.tolist(), strict=True)
    ] == [(0, 0.9), (1, 0.8)]
    one = final_boxes(boxes, scores, PostProcessing(0.7, NMS, multi_label=False))
    assert one.labels.tolist() == [0, 1]  # row 1 is at the threshold: kept


def test_clipping_scaling_smallest_size_and_limit():
    boxes = torch.tensor([[-4, 2, 6, 8.0], [20, 2, 30, 8], [1, 1, 3, 3]])
    scores = torch.tensor([[0.9], [0.8], [0.7]])
    settings = PostProcessing(0.1, NMS, min_size_px=0)
    found = final_boxes(boxes, scores, settings, image_shape=(6, 10), scale_factor=(2.0, 1.0))
    # the second ends up without width at x = 10 and is dropped
    assert found.boxes.tolist() == [[0, 2, 3, 6], [0.5, 1, 1.5, 3]]
    limited = final_boxes(boxes, scores, PostProcessing(0.1, NMS, max_per_image=1))
    assert limited.scores.tolist() == pytest.approx([0.9])


def test_one_box_a_class_and_no_nms():
    boxes = torch.arange(16.0).reshape(2, 2, 4)  # box k of row n starts at 8 n + 4 k
    scores = torch.tensor([[0.1, 0.9], [0.8, 0.2]])
    found = final_boxes(boxes, scores, PostProcessing(0.5, NMS))
    assert found.boxes[:, 0].tolist() == [4, 8]
    assert found.labels.tolist() == [1, 0]
    same = torch.tensor([[0, 0, 4, 4.0], [0, 0, 4, 4.0]])
    found = final_boxes(same, scores, PostProcessing(0.0, multi_label=False, max_per_image=2))
    assert found.scores.tolist() == pytest.approx([0.9, 0.8])  # both, for nms is empty
    assert found.labels.tolist() == [1, 0]


def test_no_candidate_gives_empty_tensors():
    found = final_boxes(torch.zeros(2, 4), torch.zeros(2, 3), PostProcessing(0.5, NMS))
    assert (found.boxes.shape, found.scores.shape) == ((0, 4), (0,))


def test_head_without_test_settings_is_a_user_error():
    with pytest.raises(UserError, match="test_cfg"):
        post_processing(torch.nn.Identity())
