# The teacher on the smaller world. Frames with rare classes come more often, or it learns cars
# alone in the time.
_base_ = ["centerpoint-pillar04_synthetic.py", "../_base_/synthetic_near.py"]
model = _base_.near_model
labelled = dict(_base_.train_dataloader.dataset, data_root=_base_.near_root)
train_dataloader = dict(
    batch_size=2,  # twice the steps for the same frames
    dataset=dict(_delete_=True, type="CBGSDataset", dataset=labelled),
)
val_dataloader = _base_.near_dataloader
test_dataloader = _base_.near_dataloader
val_evaluator = _base_.near_evaluator
test_evaluator = _base_.near_evaluator
max_iters = 2000
train_cfg = dict(max_iters=max_iters)
param_scheduler = [
    dict(type="LinearLR", start_factor=0.05, by_epoch=False, begin=0, end=30),
    dict(type="CosineAnnealingLR", by_epoch=False, begin=30, end=max_iters, T_max=max_iters - 30),
]
optim_wrapper = dict(optimizer=dict(lr=0.006))
