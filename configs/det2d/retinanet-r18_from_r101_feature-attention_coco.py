_base_ = ["mmdet::retinanet/retinanet_r18_fpn_1x_coco.py", "../_base_/kd3d.py"]
mixed = dict(type="FeatureAttention", alpha=0.9)
custom_hooks = [
    dict(
        type="DistillHook",
        teacher=dict(
            config="mmdet::retinanet/retinanet_r101_fpn_2x_coco.py",  # AP 38.9
            checkpoint="https://download.openmmlab.com/mmdetection/v2.0/retinanet/retinanet_r101_fpn_2x_coco/retinanet_r101_fpn_2x_coco_20200131-5560aee8.pth",
        ),
        pairs=[
            # mostly plain distance; where both are active counts for the rest
            dict(name="neck", student="neck", teacher="neck", loss=mixed, weight=2.0),
        ],
    ),
]
