# The demo's teacher: that of the smaller world with one convolution a branch, for a third of its
# training.
_base_ = ["../det3d/centerpoint-pillar04_synthetic-near.py"]
model = dict(
    pts_bbox_head=dict(
        common_heads=dict(reg=(2, 1), height=(1, 1), dim=(3, 1), rot=(2, 1), vel=(2, 1)),
        num_heatmap_convs=1,
    )
)
max_iters = 600
train_cfg = dict(max_iters=max_iters, val_begin=max_iters + 1)  # no validation: nothing to choose
param_scheduler = [
    dict(type="LinearLR", start_factor=0.05, by_epoch=False, begin=0, end=30),
    dict(type="CosineAnnealingLR", by_epoch=False, begin=30, end=max_iters, T_max=max_iters - 30),
]
