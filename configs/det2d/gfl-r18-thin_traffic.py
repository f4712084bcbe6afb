# The student on drawn traffic scenes: half of the teacher's width, one convolution in its head.
_base_ = ["gfl-r18-half_traffic.py"]
model = dict(
    backbone=dict(stem_channels=16, base_channels=16),
    neck=dict(in_channels=[32, 64, 128], out_channels=32),
    bbox_head=dict(in_channels=32, feat_channels=32, stacked_convs=1),
)
max_iters = 500
train_cfg = dict(max_iters=max_iters)
param_scheduler = [
    dict(type="LinearLR", start_factor=0.05, by_epoch=False, begin=0, end=30),
    dict(type="CosineAnnealingLR", by_epoch=False, begin=30, end=max_iters, T_max=max_iters - 30),
]
optim_wrapper = dict(optimizer=dict(lr=0.004))  # tuned on the traffic scenes without a teacher
