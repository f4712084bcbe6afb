_base_ = ["pointpillars-thin_kitti-drive.py"]
foreground = dict(type="GaussianForeground", background=0.05)
# weights untuned; gradient shares are logged
bev = dict(name="bev", loss=dict(type="BevFeature"), mask=foreground)
response = dict(name="response", loss=dict(type="AnchorResponse"))
custom_hooks = [
    *_base_.custom_hooks,
    dict(
        type="DistillHook",
        teacher=dict(
            config="configs/det3d/pointpillars_kitti-drive.py",
            checkpoint="work_dirs/kitti_drive_3d/teacher/final.pth",
        ),
        pairs=[
            dict(student="neck[0]", teacher="neck[0]", **bev),
            dict(student="bbox_head", teacher="bbox_head", **response),
        ],
    ),
]
