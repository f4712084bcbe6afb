# The same for three times as long, when the student without a teacher has stopped improving.
_base_ = ["gfl-r18-thin_from_efficientnet-lite0_response_bccd.py"]
max_iters = 900
train_cfg = dict(max_iters=max_iters)
param_scheduler = [
    dict(type="LinearLR", start_factor=0.05, by_epoch=False, begin=0, end=30),
    dict(type="CosineAnnealingLR", by_epoch=False, begin=30, end=max_iters, T_max=max_iters - 30),
]
