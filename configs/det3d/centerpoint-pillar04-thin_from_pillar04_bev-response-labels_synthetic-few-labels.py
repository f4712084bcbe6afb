# The student has the labels of 10 scenes of 100 and the frames of all. The teacher, which had all
# labels, speaks for the rest: by its response, and by the boxes it is sure of.
_base_ = ["centerpoint-pillar04-thin_from_pillar04_bev-response_synthetic.py"]
frames = _base_.train_dataloader.dataset
train_dataloader = dict(
    # half of each batch has labels
    sampler=dict(_delete_=True, type="mmdet.MultiSourceSampler", batch_size=4, source_ratio=[1, 1]),
    dataset=dict(
        _delete_=True,
        type="ConcatDataset",
        datasets=[dict(indices=100, **frames), dict(type="Unlabelled", dataset=frames)],
    ),
)
distill = _base_.custom_hooks[-1]
# where there is no ground truth, the BEV map is compared where the teacher finds something
distill.pairs[0].mask = dict(type="RegionMask", teacher="pts_bbox_head")
distill.additional_labels = dict(teacher="pts_bbox_head", unlabelled=True, score_threshold=0.3)
custom_hooks = [*_base_.custom_hooks[:-1], distill]
