_base_ = ["centerpoint-pillar02-compact_nuscenes.py"]
foreground = dict(type="GaussianForeground", background=0.05)
# weights of the pair that was tuned on the synthetic world; gradient shares are logged
bev = dict(name="bev", loss=dict(type="BevFeature"), mask=foreground, weight=100.0)
response = dict(name="response", loss=dict(type="HeatmapResponse", box_weight=0.1), weight=60.0)
custom_hooks = [
    dict(type="InitSeparateHeads"),
    dict(
        type="DistillHook",
        teacher=dict(
            # NDS 59.6
            config="mmdet3d::centerpoint/centerpoint_pillar02_second_secfpn_head-circlenms_8xb4-cyclic-20e_nus-3d.py",
            checkpoint="https://download.openmmlab.com/mmdetection3d/v1.0.0_models/centerpoint/centerpoint_02pillar_second_secfpn_circlenms_4x8_cyclic_20e_nus/centerpoint_02pillar_second_secfpn_circlenms_4x8_cyclic_20e_nus_20220811_031844-191a3822.pth",
        ),
        pairs=[
            dict(student="pts_neck[0]", teacher="pts_neck[0]", **bev),
            dict(student="pts_bbox_head", teacher="pts_bbox_head", **response),
        ],
    ),
]
