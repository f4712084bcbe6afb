# All labels, as in the long training, and what a fleet brings home: six times as many frames that
# nobody has labelled. The teacher speaks for them by its response and by the boxes it is sure of.
_base_ = ["centerpoint-pillar04-thin_from_pillar04_bev-response_synthetic-long.py"]
labelled = _base_.train_dataloader.dataset
fleet = dict(
    labelled,
    data_root="data/synthetic_fleet/",
    pipeline=[
        _base_.load_points,
        _base_.load_annotations,
        dict(type="ReplayedAugmentation", variants=2, transforms=_base_.augment_and_pack),
    ],
)
train_dataloader = dict(
    # of each batch one frame has labels
    sampler=dict(_delete_=True, type="mmdet.MultiSourceSampler", batch_size=4, source_ratio=[1, 3]),
    dataset=dict(
        _delete_=True,
        type="ConcatDataset",
        datasets=[labelled, dict(type="Unlabelled", dataset=fleet)],
    ),
)
distill = _base_.custom_hooks[-1]
distill.pairs = distill.pairs[1:]  # the response; with few labels BEV features brought little more
distill.additional_labels = dict(teacher="pts_bbox_head", unlabelled=True, score_threshold=0.3)
distill.teacher.cache.max_gb = 12
custom_hooks = [*_base_.custom_hooks[:-1], distill]
max_iters = 44000
train_cfg = dict(max_iters=max_iters)
param_scheduler = [
    dict(type="LinearLR", start_factor=0.05, by_epoch=False, begin=0, end=30),
    # down three times, after the first from half as high
    dict(
        type="CosineRestartLR",
        by_epoch=False,
        begin=30,
        end=max_iters,
        periods=[15970, 12000, 16000],
        restart_weights=[1.0, 0.5, 0.5],
        eta_min=0.0,
    ),
]
