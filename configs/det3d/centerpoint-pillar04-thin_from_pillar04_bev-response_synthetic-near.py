# The smaller world, its 600 frames labelled for teacher and student.
_base_ = [
    "centerpoint-pillar04-thin_from_pillar04_bev-response_synthetic.py",
    "../_base_/synthetic_near.py",
]
model = _base_.near_student
train_dataloader = dict(batch_size=2, dataset=dict(data_root=_base_.near_root))
val_dataloader = _base_.near_dataloader
test_dataloader = _base_.near_dataloader
val_evaluator = _base_.near_evaluator
test_evaluator = _base_.near_evaluator
max_iters = 1200
train_cfg = dict(max_iters=max_iters)
param_scheduler = [
    dict(type="LinearLR", start_factor=0.05, by_epoch=False, begin=0, end=30),
    dict(type="CosineAnnealingLR", by_epoch=False, begin=30, end=max_iters, T_max=max_iters - 30),
]
distill = _base_.custom_hooks[-1]
distill.teacher.config = "configs/det3d/centerpoint-pillar04_synthetic-near.py"
distill.teacher.checkpoint = "work_dirs/synthetic_near/teacher/final.pth"  # the recipe's
custom_hooks = [*_base_.custom_hooks[:-1], distill]
