# One KITTI drive, real driving images: teacher and student from scratch on a CPU. Frames of one
# drive resemble each other, so the figures say nothing about other roads.
drive = "{{$KD3D_REAL_DATA:data/real}}/kitti_drive0005/training"
recipe = dict(
    distilled="../det2d/gfl-r18-thin_from_r18-half_pkd-response_kitti-drive.py",
    seeds=[0],
    train_teacher=True,
    control=dict(terms=["loss_cls", "loss_bbox"]),
    export=True,
    input_size=(128, 416),
    prepare=[
        dict(
            run="tools/datasets/kitti_to_coco.py "
            + drive
            + " --out data/kitti_drive --train 0-109 --val 120-153",
            makes="data/kitti_drive/annotations/instances_val.json",
        )
    ],
)
