_base_ = ["pointpillars-compact_kitti.py"]
foreground = dict(type="GaussianForeground", background=0.05)
# weights untuned; gradient shares are logged
bev = dict(name="bev", loss=dict(type="BevFeature"), mask=foreground)
response = dict(name="response", loss=dict(type="AnchorResponse"))
custom_hooks = [
    dict(
        type="DistillHook",
        teacher=dict(
            # AP 64.1
            config="mmdet3d::pointpillars/pointpillars_hv_secfpn_8xb6-160e_kitti-3d-3class.py",
            checkpoint="https://download.openmmlab.com/mmdetection3d/v1.0.0_models/pointpillars/hv_pointpillars_secfpn_6x8_160e_kitti-3d-3class/hv_pointpillars_secfpn_6x8_160e_kitti-3d-3class_20220301_150306-37dc2420.pth",
        ),
        pairs=[
            dict(student="neck[0]", teacher="neck[0]", **bev),
            dict(student="bbox_head", teacher="bbox_head", **response),
        ],
    ),
]
