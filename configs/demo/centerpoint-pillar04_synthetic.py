# The demo's teacher: that of the smaller world, for a third of its training.
_base_ = ["../det3d/centerpoint-pillar04_synthetic-near.py"]
max_iters = 600
train_cfg = dict(max_iters=max_iters, val_begin=max_iters + 1)  # no validation: nothing to choose
param_scheduler = [
    dict(type="LinearLR", start_factor=0.05, by_epoch=False, begin=0, end=30),
    dict(type="CosineAnnealingLR", by_epoch=False, begin=30, end=max_iters, T_max=max_iters - 30),
]
