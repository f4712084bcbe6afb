# The teacher for the LiDAR of the KITTI drive: PointPillars of half the usual width, over 41 m.
_base_ = [
    "mmdet3d::_base_/models/pointpillars_hv_secfpn_kitti.py",
    "../_base_/kitti_drive_lidar.py",
    "../_base_/schedule_cpu.py",
    "../_base_/kd3d.py",
]
extent = [0, -20.48, -3, 40.96, 20.48, 1]
voxel_size = [0.16, 0.16, 4]
custom_hooks = [dict(type="ChannelsLastHook")]
iou = dict(type="mmdet3d.BboxOverlapsNearest3D")
assigner = dict(type="Max3DIoUAssigner", iou_calculator=iou, ignore_iof_thr=-1)
model = dict(
    data_preprocessor=dict(voxel_layer=dict(point_cloud_range=extent)),
    voxel_encoder=dict(feat_channels=[32], point_cloud_range=extent),
    middle_encoder=dict(in_channels=32, output_shape=[256, 256]),
    backbone=dict(in_channels=32, out_channels=[32, 64, 128], layer_nums=[2, 3, 3]),
    neck=dict(in_channels=[32, 64, 128], out_channels=[64, 64, 64]),
    bbox_head=dict(
        num_classes=2,
        in_channels=192,
        feat_channels=192,
        anchor_generator=dict(
            ranges=[
                [0, -20.48, -0.6, 40.96, 20.48, -0.6],
                [0, -20.48, -1.78, 40.96, 20.48, -1.78],
            ],
            sizes=[[1.76, 0.6, 1.73], [4.2, 1.7, 1.7]],  # cyclist; car, with vans
        ),
    ),
    train_cfg=dict(
        assigner=[
            dict(pos_iou_thr=0.5, neg_iou_thr=0.35, min_pos_iou=0.35, **assigner),
            dict(pos_iou_thr=0.6, neg_iou_thr=0.45, min_pos_iou=0.45, **assigner),
        ]
    ),
)
