# All frames are labelled, for teacher and student.
_base_ = ["centerpoint-pillar08-thin_synthetic.py"]
response = dict(type="HeatmapResponse", box_weight=0.1)
custom_hooks = [
    *_base_.custom_hooks,
    dict(
        type="DistillHook",
        teacher=dict(
            config="configs/det3d/centerpoint-pillar04_synthetic.py",
            checkpoint="work_dirs/synthetic_all_labels/teacher/final.pth",
        ),
        pairs=[
            dict(
                name="response",
                student="pts_bbox_head",
                teacher="pts_bbox_head",
                loss=response,
                weight=8.0,
            ),
        ],
    ),
]
