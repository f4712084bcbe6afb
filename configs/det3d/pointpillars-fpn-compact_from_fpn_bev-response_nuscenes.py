_base_ = ["pointpillars-fpn-compact_nuscenes.py"]
foreground = dict(type="GaussianForeground", background=0.05)
# weights untuned; gradient shares are logged
bev = dict(name="bev", loss=dict(type="BevFeature"), mask=foreground)
response = dict(name="response", loss=dict(type="AnchorResponse"))
custom_hooks = [
    dict(
        type="DistillHook",
        teacher=dict(
            # NDS 53.2
            config="mmdet3d::pointpillars/pointpillars_hv_fpn_sbn-all_8xb4-2x_nus-3d.py",
            checkpoint="https://download.openmmlab.com/mmdetection3d/v1.0.0_models/pointpillars/hv_pointpillars_fpn_sbn-all_4x8_2x_nus-3d/hv_pointpillars_fpn_sbn-all_4x8_2x_nus-3d_20210826_104936-fca299c1.pth",
        ),
        pairs=[
            dict(student="pts_neck", teacher="pts_neck", **bev),
            dict(student="pts_bbox_head", teacher="pts_bbox_head", **response),
        ],
    ),
]
