_base_ = ["mmdet::yolox/yolox_nano_8xb8-300e_coco.py", "../_base_/kd3d.py"]
pkd = dict(type="PearsonDistance")
response = dict(type="DenseResponse")
custom_hooks = [
    *_base_.custom_hooks,
    dict(
        type="DistillHook",
        teacher=dict(
            config="mmdet::yolox/yolox_s_8xb8-300e_coco.py",  # AP 40.5
            checkpoint="https://download.openmmlab.com/mmdetection/v2.0/yolox/yolox_s_8x8_300e_coco/yolox_s_8x8_300e_coco_20211121_095711-4592a793.pth",
        ),
        pairs=[
            # PKD: 6 a level, three levels; 64 to 128 channels by a 1x1 convolution
            dict(name="neck", student="neck", teacher="neck", loss=pkd, weight=18.0),
            # YOLOX weights its box term by 5; the response has to hold its own beside it
            dict(
                name="response", student="bbox_head", teacher="bbox_head", loss=response, weight=5.0
            ),
        ],
    ),
]
