# The demo's student: few labels on the smaller world, from the demo's teacher, and like it with one
# convolution a branch.
_base_ = [
    "../det3d/centerpoint-pillar04-thin_from_pillar04_bev-response-labels_synthetic-near-few-labels.py"
]
model = dict(pts_bbox_head=dict(num_heatmap_convs=1))
max_iters = 500
train_cfg = dict(max_iters=max_iters, val_begin=max_iters + 1)  # no validation: nothing to choose
param_scheduler = [
    dict(type="LinearLR", start_factor=0.05, by_epoch=False, begin=0, end=30),
    dict(type="CosineAnnealingLR", by_epoch=False, begin=30, end=max_iters, T_max=max_iters - 30),
]
distill = _base_.custom_hooks[-1]
distill.teacher.config = "configs/demo/centerpoint-pillar04_synthetic.py"
distill.teacher.checkpoint = "work_dirs/demo/teacher/final.pth"  # where the demo's recipe leaves it
custom_hooks = [*_base_.custom_hooks[:-1], distill]
