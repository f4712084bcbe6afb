# All labels of the smaller world, and what a fleet brings home: five times as many frames that
# nobody has labelled, as they are driven. The teacher speaks for them by its maps, its response and
# the boxes it is sure of.
_base_ = ["centerpoint-pillar04-thin_from_pillar04_bev-response_synthetic-near.py"]
labelled = _base_.train_dataloader.dataset
unturned = [step for step in _base_.augment_and_pack if step["type"] != "GlobalRotScaleTrans"]
fleet = dict(
    labelled,
    data_root="data/synthetic_near_fleet/",
    pipeline=[
        _base_.load_points,
        _base_.load_annotations,
        dict(type="ReplayedAugmentation", variants=1, transforms=unturned),
    ],
)
train_dataloader = dict(
    batch_size=4,  # of each batch one frame has labels
    sampler=dict(_delete_=True, type="mmdet.MultiSourceSampler", batch_size=4, source_ratio=[1, 3]),
    dataset=dict(
        _delete_=True,
        type="ConcatDataset",
        datasets=[labelled, dict(type="Unlabelled", dataset=fleet)],
    ),
)
distill = _base_.custom_hooks[-1]
distill.teacher.config = "configs/det3d/centerpoint-pillar04_synthetic-near-long.py"
distill.teacher.checkpoint = "work_dirs/synthetic_near_fleet/teacher/final.pth"  # the recipe's
distill.teacher.cache.max_gb = 6
distill.pairs[0].mask = dict(type="RegionMask", teacher="pts_bbox_head")  # where it finds something
distill.additional_labels = dict(teacher="pts_bbox_head", unlabelled=True, score_threshold=0.3)
custom_hooks = [*_base_.custom_hooks[:-1], distill]
test_dataloader = _base_.near_test_dataloader
test_evaluator = _base_.near_test_evaluator
max_iters = 8000
train_cfg = dict(max_iters=max_iters)
param_scheduler = [
    dict(type="LinearLR", start_factor=0.05, by_epoch=False, begin=0, end=30),
    dict(type="CosineAnnealingLR", by_epoch=False, begin=30, end=max_iters, T_max=max_iters - 30),
]
