# PointPillars with FPN at half of its width.
_base_ = [
    "mmdet3d::pointpillars/pointpillars_hv_fpn_sbn-all_8xb4-2x_nus-3d.py",
    "../_base_/kd3d.py",
]
model = dict(
    pts_voxel_encoder=dict(feat_channels=[32, 32]),
    pts_middle_encoder=dict(in_channels=32),
    pts_backbone=dict(in_channels=32, out_channels=[32, 64, 128]),
    pts_neck=dict(in_channels=[32, 64, 128], out_channels=128),
    pts_bbox_head=dict(in_channels=128, feat_channels=128),
)
# the devkit's values in a fraction of its time
val_evaluator = dict(type="NuScenesFastMetric")
test_evaluator = dict(type="NuScenesFastMetric")
