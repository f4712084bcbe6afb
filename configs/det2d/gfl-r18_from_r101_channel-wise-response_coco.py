_base_ = ["mmdet::gfl/gfl_r50_fpn_1x_coco.py", "../_base_/kd3d.py"]
model = dict(
    backbone=dict(depth=18, init_cfg=dict(type="Pretrained", checkpoint="torchvision://resnet18")),
    neck=dict(in_channels=[64, 128, 256, 512]),
)
cwd = dict(type="ChannelWiseDivergence")
response = dict(type="DenseResponse")
custom_hooks = [
    dict(
        type="DistillHook",
        teacher=dict(
            config="mmdet::gfl/gfl_r101_fpn_ms-2x_coco.py",  # AP 44.7
            checkpoint="https://download.openmmlab.com/mmdetection/v2.0/gfl/gfl_r101_fpn_mstrain_2x_coco/gfl_r101_fpn_mstrain_2x_coco_20200629_200126-dd12f847.pth",
        ),
        pairs=[
            # CWD: 10 a level, summed over five levels; a pair takes their mean
            dict(name="neck", student="neck", teacher="neck", loss=cwd, weight=50.0),
            dict(name="response", student="bbox_head", teacher="bbox_head", loss=response),
        ],
    ),
]
