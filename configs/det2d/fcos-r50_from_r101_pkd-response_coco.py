# Both are of caffe style, with the same mean and std.
_base_ = ["mmdet::fcos/fcos_r50-caffe_fpn_gn-head_1x_coco.py", "../_base_/kd3d.py"]
pkd = dict(type="PearsonDistance")
response = dict(type="DenseResponse")
custom_hooks = [
    dict(
        type="DistillHook",
        teacher=dict(
            config="mmdet::fcos/fcos_r101-caffe_fpn_gn-head_ms-640-800-2x_coco.py",  # AP 40.8
            checkpoint="https://download.openmmlab.com/mmdetection/v2.0/fcos/fcos_r101_caffe_fpn_gn-head_mstrain_640-800_2x_coco/fcos_r101_caffe_fpn_gn-head_mstrain_640-800_2x_coco-511424d6.pth",
        ),
        pairs=[
            # PKD: 6 a level, summed over five levels; a pair takes their mean
            dict(name="neck", student="neck", teacher="neck", loss=pkd, weight=30.0),
            dict(name="response", student="bbox_head", teacher="bbox_head", loss=response),
        ],
    ),
]
