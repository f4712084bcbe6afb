# All frames are labelled, for teacher and student.
_base_ = ["centerpoint-pillar04-thin_synthetic.py"]
bev = dict(
    name="bev",
    student="pts_neck[0]",
    teacher="pts_neck[0]",
    mask=dict(type="GaussianForeground"),
    loss=dict(type="BevFeature"),
    weight=100.0,
)
response = dict(
    name="response",
    student="pts_bbox_head",
    teacher="pts_bbox_head",
    loss=dict(type="HeatmapResponse", box_weight=0.1),
    weight=60.0,
)
custom_hooks = [
    *_base_.custom_hooks,
    dict(
        type="DistillHook",
        teacher=dict(
            config="configs/det3d/centerpoint-pillar04_synthetic.py",
            checkpoint="work_dirs/synthetic_all_labels/teacher/final.pth",  # the recipe's
            cache=dict(dir="work_dirs/teacher_cache", max_gb=6),
        ),
        pairs=[bev, response],
    ),
]
