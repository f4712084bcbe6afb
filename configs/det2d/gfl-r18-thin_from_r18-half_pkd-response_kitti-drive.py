_base_ = ["gfl-r18-thin_kitti-drive.py"]
pkd = dict(type="PearsonDistance")
response = dict(type="DenseResponse")
custom_hooks = [
    dict(
        type="DistillHook",
        teacher=dict(
            config="configs/det2d/gfl-r18-half_kitti-drive.py",
            checkpoint="work_dirs/kitti_drive/teacher/final.pth",
        ),
        pairs=[
            dict(name="neck", student="neck", teacher="neck", loss=pkd, weight=2.0),
            dict(name="response", student="bbox_head", teacher="bbox_head", loss=response),
        ],
    ),
]
