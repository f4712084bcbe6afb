# Registers what kd3d adds, so that a config of ours also runs under mmdet's own tools/train.py.
custom_imports = dict(
    imports=[
        "kd3d.connectors",
        "kd3d.datasets.replayed_augmentation",
        "kd3d.datasets.unlabelled",
        "kd3d.distill",
        "kd3d.distill.control",
        "kd3d.evaluation.coco_metric",
        "kd3d.evaluation.kitti_metric",
        "kd3d.evaluation.nuscenes.metric",
        "kd3d.losses",
        "kd3d.models",
    ],
    allow_failed_imports=False,
)
