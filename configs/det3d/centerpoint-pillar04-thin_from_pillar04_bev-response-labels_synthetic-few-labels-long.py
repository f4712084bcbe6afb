# Few labels with four times the training, and each frame in four forms, not two: is the gain more
# than faster learning?
_base_ = ["centerpoint-pillar04-thin_from_pillar04_bev-response-labels_synthetic-few-labels.py"]
labelled, unlabelled = _base_.train_dataloader.dataset.datasets
for frames in (labelled, unlabelled.dataset):
    frames.pipeline[-1].variants = 4
train_dataloader = dict(dataset=dict(datasets=[labelled, unlabelled]))
distill = _base_.custom_hooks[-1]
distill.teacher.config = "configs/det3d/centerpoint-pillar04_synthetic-long.py"
distill.teacher.checkpoint = "work_dirs/synthetic_long/teacher/final.pth"  # the recipe's
distill.teacher.cache.max_gb = 8
custom_hooks = [*_base_.custom_hooks[:-1], distill]
max_iters = 8000
train_cfg = dict(max_iters=max_iters)
param_scheduler = [
    dict(type="LinearLR", start_factor=0.05, by_epoch=False, begin=0, end=30),
    dict(type="CosineAnnealingLR", by_epoch=False, begin=30, end=max_iters, T_max=max_iters - 30),
]
