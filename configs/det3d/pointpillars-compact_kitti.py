# PointPillars at half of its width.
_base_ = [
    "mmdet3d::pointpillars/pointpillars_hv_secfpn_8xb6-160e_kitti-3d-3class.py",
    "../_base_/kd3d.py",
]
model = dict(
    voxel_encoder=dict(feat_channels=[32]),
    middle_encoder=dict(in_channels=32),
    backbone=dict(in_channels=32, out_channels=[32, 64, 128]),
    neck=dict(in_channels=[32, 64, 128], out_channels=[64, 64, 64]),
    bbox_head=dict(in_channels=192, feat_channels=192),
)
# validates without CUDA, too
val_evaluator = dict(type="KittiRecordMetric")
test_evaluator = dict(type="KittiRecordMetric")
