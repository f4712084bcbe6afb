# The LiDAR of one KITTI drive: teacher and student from scratch on a CPU, judged by mmdet3d's KITTI
# metrics. Frames of one drive resemble each other, so the figures say nothing about other roads.
drive = "{{$KD3D_REAL_DATA:data/real}}/kitti_drive0005/training"
recipe = dict(
    distilled="../det3d/pointpillars-thin_from_pointpillars_bev-response_kitti-drive.py",
    seeds=[0],
    train_teacher=True,
    control=dict(terms=["loss_cls", "loss_bbox", "loss_dir"]),
    prepare=[
        dict(
            run="tools/datasets/kitti_infos.py "
            + drive
            + " --out data/kitti_drive --train 0-109 --val 120-153 --read Van=Car",
            makes="data/kitti_drive/kitti_infos_val.pkl",
        )
    ],
)
