# All frames are labelled, for teacher and student.
_base_ = ["centerpoint-pillar08-thin_synthetic.py"]
custom_hooks = [
    *_base_.custom_hooks,
    dict(
        type="DistillHook",
        teacher=dict(
            config="configs/det3d/centerpoint-pillar04_synthetic.py",
            checkpoint="work_dirs/synthetic_all_labels/teacher/final.pth",  # the recipe's
            cache=dict(dir="work_dirs/teacher_cache", max_gb=4),
        ),
        pairs=[
            dict(
                name="response",
                student="pts_bbox_head",
                teacher="pts_bbox_head",
                loss=dict(type="HeatmapResponse", box_weight=0.1),
                weight=24.0,
            ),
        ],
    ),
]
