import torch

from kd3d.export.networks.proposals import NO_BOX_PX, ProposalSettings, select_proposals

SETTINGS = ProposalSettings(per_level=3, iou_threshold=0.5, count=4)
IMAGE = (100, 200)


def box(x, width=10.0):
    return [x, 0.0, x + width, 10.0]


def select(boxes, scores, sizes, settings=SETTINGS):
    tensors = torch.tensor(boxes)[None], torch.tensor(scores)[None]
    found = select_proposals(*tensors, sizes, settings, IMAGE)
    return found.boxes[0].tolist(), found.scores[0].tolist()


def test_the_best_of_each_level_then_of_all():
    boxes = [box(0), box(20), box(40), box(60), box(80)]
    scores = [0.5, 0.25, 0.75, 0.125, 1.0]
    # the first level's fourth box (0.125) does not enter, then four of four are left
    assert select(boxes, scores, [4, 1]) == (
        [box(80), box(40), box(0), box(20)],
        [1.0, 0.75, 0.5, 0.25],
    )


def test_levels_do_not_suppress_each_other_and_rests_are_no_boxes():
    boxes = [box(0), box(1), box(0)]  # the first two overlap by 9 / 11
    found = select(boxes, [0.5, 0.75, 0.25], [2, 1])
    assert found == ([box(1), box(0), [*NO_BOX_PX], [*NO_BOX_PX]], [0.75, 0.25, 0.0, 0.0])


def test_boxes_are_clipped_and_must_have_some_size():
    boxes = [[-5.0, -5.0, 300.0, 300.0], [200.0, 0.0, 250.0, 10.0], box(50, width=2.0)]
    settings = ProposalSettings(per_level=3, iou_threshold=0.5, count=2, min_size_px=2)
    # the second ends up without width at x = 200; the third is not wider than 2
    found = select(boxes, [0.5, 0.75, 0.25], [3], settings)
    assert found == ([[0.0, 0.0, 200.0, 100.0], [*NO_BOX_PX]], [0.5, 0.0])


def test_images_of_a_batch_are_independent():
    generator = torch.Generator().manual_seed(1)
    corner = torch.rand(2, 20, 2, generator=generator) * 50
    boxes = torch.cat([corner, corner + 20], -1)
    scores = torch.rand(2, 20, generator=generator)
    settings = ProposalSettings(per_level=8, iou_threshold=0.5, count=6)
    both = select_proposals(boxes, scores, [15, 5], settings, IMAGE)
    for image in range(2):
        alone = select_proposals(
            boxes[image : image + 1], scores[image : image + 1], [15, 5], settings, IMAGE
        )
        assert torch.equal(alone.boxes[0], both.boxes[image])
        assert torch.equal(alone.scores[0], both.scores[image])
