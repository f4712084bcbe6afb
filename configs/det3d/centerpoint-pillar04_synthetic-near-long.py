# The teacher of students that train for long: that of the smaller world, trained for longer.
_base_ = ["centerpoint-pillar04_synthetic-near.py"]
test_dataloader = _base_.near_test_dataloader
test_evaluator = _base_.near_test_evaluator
max_iters = 6000
train_cfg = dict(max_iters=max_iters)
param_scheduler = [
    dict(type="LinearLR", start_factor=0.05, by_epoch=False, begin=0, end=30),
    dict(type="CosineAnnealingLR", by_epoch=False, begin=30, end=max_iters, T_max=max_iters - 30),
]
