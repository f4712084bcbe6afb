_base_ = ["mmdet::rtmdet/rtmdet_tiny_8xb32-300e_coco.py", "../_base_/kd3d.py"]
cwd = dict(type="ChannelWiseDivergence")
response = dict(type="DenseResponse")
custom_hooks = [
    *_base_.custom_hooks,
    dict(
        type="DistillHook",
        teacher=dict(
            config="mmdet::rtmdet/rtmdet_s_8xb32-300e_coco.py",  # AP 44.5
            checkpoint="https://download.openmmlab.com/mmdetection/v3.0/rtmdet/rtmdet_s_8xb32-300e_coco/rtmdet_s_8xb32-300e_coco_20220905_161602-387a891e.pth",
        ),
        pairs=[
            # CWD: 10 a level, three levels; 96 to 128 channels by a 1x1 convolution
            dict(name="neck", student="neck", teacher="neck", loss=cwd, weight=30.0),
            dict(name="response", student="bbox_head", teacher="bbox_head", loss=response),
        ],
    ),
]
