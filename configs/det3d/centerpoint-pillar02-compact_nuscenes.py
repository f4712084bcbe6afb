# CenterPoint pillar02 at half of its width and with fewer layers. On one sweep it takes 12.5 G
# multiply-adds (tools/multiply_adds.py), where pillar02 takes 64 and voxel0075, over the same
# range, 120.
_base_ = [
    "mmdet3d::centerpoint/centerpoint_pillar02_second_secfpn_8xb4-cyclic-20e_nus-3d.py",
    "../_base_/kd3d.py",
]
model = dict(
    pts_voxel_encoder=dict(feat_channels=[32]),
    pts_middle_encoder=dict(in_channels=32),
    pts_backbone=dict(in_channels=32, out_channels=[32, 64, 128], layer_nums=[2, 3, 2]),
    pts_neck=dict(in_channels=[32, 64, 128], out_channels=[64, 64, 64]),
    pts_bbox_head=dict(in_channels=192, share_conv_channel=32, separate_head=dict(head_conv=32)),
)
# the devkit's values in a fraction of its time
val_evaluator = dict(type="NuScenesFastMetric")
test_evaluator = dict(type="NuScenesFastMetric")
custom_hooks = [dict(type="InitSeparateHeads")]
