# The end of a long training: frames as they are driven, neither turned nor scaled. A small network
# that cannot take in all of the fleet's frames spends what it has on those that it will meet.
_base_ = ["centerpoint-pillar04-thin_from_pillar04_response-labels_synthetic-fleet.py"]
unturned = [
    _base_.load_points,
    _base_.load_annotations,
    dict(
        type="ReplayedAugmentation",
        variants=1,
        transforms=[
            step for step in _base_.augment_and_pack if step["type"] != "GlobalRotScaleTrans"
        ],
    ),
]
datasets = _base_.train_dataloader.dataset.datasets
datasets[0].pipeline = unturned
datasets[1].dataset.pipeline = unturned
train_dataloader = dict(dataset=dict(datasets=datasets))
max_iters = 10000
train_cfg = dict(max_iters=max_iters)
optim_wrapper = dict(optimizer=dict(lr=0.004))
param_scheduler = [
    dict(type="LinearLR", start_factor=0.05, by_epoch=False, begin=0, end=100),
    dict(type="CosineAnnealingLR", by_epoch=False, begin=100, end=max_iters, T_max=max_iters - 100),
]
