# The teacher of students that train for long: the same, trained for longer.
_base_ = ["centerpoint-pillar04_synthetic.py"]
max_iters = 8000
train_cfg = dict(max_iters=max_iters)
param_scheduler = [
    dict(type="LinearLR", start_factor=0.05, by_epoch=False, begin=0, end=30),
    dict(type="CosineAnnealingLR", by_epoch=False, begin=30, end=max_iters, T_max=max_iters - 30),
]
