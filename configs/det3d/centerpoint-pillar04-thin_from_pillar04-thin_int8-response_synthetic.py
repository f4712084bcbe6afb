# The LiDAR student made ready for INT8: its own fp32 weights begin, and teach. Exported, what makes
# a pillar of points is written in another way than the layer that is trained: it stays float.
_base_ = ["centerpoint-pillar04-thin_synthetic.py"]
load_from = "work_dirs/synthetic_all_labels/distilled/seed0/iter_2000.pth"  # the recipe's
response = dict(
    name="response",
    student="pts_bbox_head",
    teacher="pts_bbox_head",
    loss=dict(type="HeatmapResponse", box_weight=0.1),
    weight=24.0,
)
custom_hooks = [
    *_base_.custom_hooks,
    dict(type="QuantizationAwareHook", keep_float=["pts_voxel_encoder"], percentile=99.99),
    dict(
        type="DistillHook",
        teacher=dict(
            config="configs/det3d/centerpoint-pillar04-thin_synthetic.py", checkpoint=load_from
        ),
        pairs=[response],
    ),
]
max_iters = 100
train_cfg = dict(max_iters=max_iters)
optim_wrapper = dict(optimizer=dict(lr=0.0002))
param_scheduler = [
    dict(type="LinearLR", start_factor=0.05, by_epoch=False, begin=0, end=10),
    dict(type="CosineAnnealingLR", by_epoch=False, begin=10, end=max_iters, T_max=max_iters - 10),
]
