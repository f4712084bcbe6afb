# On the smaller world: the student has the labels of 6 scenes and the frames of 60.
_base_ = [
    "centerpoint-pillar04-thin_from_pillar04_bev-response-labels_synthetic-few-labels.py",
    "../_base_/synthetic_near.py",
]
model = _base_.near_student
frames = dict(_base_.frames, data_root=_base_.near_root)
train_dataloader = dict(
    batch_size=2,  # one of them with labels; twice the steps for the same frames
    sampler=dict(batch_size=2),
    dataset=dict(datasets=[dict(indices=60, **frames), dict(type="Unlabelled", dataset=frames)]),
)
val_dataloader = _base_.near_dataloader
test_dataloader = _base_.near_dataloader
val_evaluator = _base_.near_evaluator
test_evaluator = _base_.near_evaluator
max_iters = 800
train_cfg = dict(max_iters=max_iters)
param_scheduler = [
    dict(type="LinearLR", start_factor=0.05, by_epoch=False, begin=0, end=30),
    dict(type="CosineAnnealingLR", by_epoch=False, begin=30, end=max_iters, T_max=max_iters - 30),
]
distill = _base_.custom_hooks[-1]
distill.teacher.config = "configs/det3d/centerpoint-pillar04_synthetic-near.py"
distill.teacher.checkpoint = "work_dirs/synthetic_near/teacher/final.pth"  # the recipe's
custom_hooks = [*_base_.custom_hooks[:-1], distill]
