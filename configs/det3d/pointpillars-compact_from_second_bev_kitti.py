# The voxel teacher sees 70.4 m in cells of 0.4 m, the student 69.12 m in cells of 0.32 m; their
# anchors stand at other places, so the maps before the heads are compared, aligned by metres.
_base_ = ["pointpillars-compact_kitti.py"]
foreground = dict(type="GaussianForeground", background=0.05)
# weights untuned; gradient shares are logged
bev = dict(name="bev", loss=dict(type="BevFeature"), mask=foreground)
custom_hooks = [
    dict(
        type="DistillHook",
        teacher=dict(
            config="mmdet3d::second/second_hv_secfpn_8xb6-80e_kitti-3d-3class.py",  # AP 65.3
            checkpoint="https://download.openmmlab.com/mmdetection3d/v1.1.0_models/second/second_hv_secfpn_8xb6-80e_kitti-3d-3class/second_hv_secfpn_8xb6-80e_kitti-3d-3class-b086d0a3.pth",
        ),
        pairs=[dict(student="neck[0]", teacher="neck[0]", **bev)],
    ),
]
