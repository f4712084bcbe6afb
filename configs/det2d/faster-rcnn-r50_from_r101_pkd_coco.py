# Two stages: the heads see proposals that differ, so the necks are paired and the heads not.
_base_ = ["mmdet::faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py", "../_base_/kd3d.py"]
pkd = dict(type="PearsonDistance")
custom_hooks = [
    dict(
        type="DistillHook",
        teacher=dict(
            config="mmdet::faster_rcnn/faster-rcnn_r101_fpn_2x_coco.py",  # AP 39.8
            checkpoint="https://download.openmmlab.com/mmdetection/v2.0/faster_rcnn/faster_rcnn_r101_fpn_2x_coco/faster_rcnn_r101_fpn_2x_coco_bbox_mAP-0.398_20200504_210455-1d2dac9c.pth",
        ),
        pairs=[
            # PKD: 6 a level, summed over five levels; a pair takes their mean
            dict(name="neck", student="neck", teacher="neck", loss=pkd, weight=30.0),
        ],
    ),
]
