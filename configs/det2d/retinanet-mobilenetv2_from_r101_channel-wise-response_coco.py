_base_ = ["mmdet::retinanet/retinanet_r50_fpn_1x_coco.py", "../_base_/kd3d.py"]
model = dict(
    backbone=dict(
        _delete_=True,
        type="MobileNetV2",
        out_indices=(1, 2, 4, 7),
        norm_eval=True,
        init_cfg=dict(type="Pretrained", checkpoint="open-mmlab://mmdet/mobilenet_v2"),
    ),
    neck=dict(in_channels=[24, 32, 96, 1280]),
)
cwd = dict(type="ChannelWiseDivergence")
response = dict(type="DenseResponse")
custom_hooks = [
    dict(
        type="DistillHook",
        teacher=dict(
            config="mmdet::retinanet/retinanet_r101_fpn_2x_coco.py",  # AP 38.9
            checkpoint="https://download.openmmlab.com/mmdetection/v2.0/retinanet/retinanet_r101_fpn_2x_coco/retinanet_r101_fpn_2x_coco_20200131-5560aee8.pth",
        ),
        pairs=[
            # CWD: 10 a level, summed over five levels; a pair takes their mean
            dict(name="neck", student="neck", teacher="neck", loss=cwd, weight=50.0),
            dict(name="response", student="bbox_head", teacher="bbox_head", loss=response),
        ],
    ),
]
