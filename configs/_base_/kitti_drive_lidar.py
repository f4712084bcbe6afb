# The LiDAR of one KITTI drive (0005): frames 0-109 train, 120-153 val. One drive, so results do not
# generalise. Vans count as cars: among the training frames there are 215 vans and one car. Infos:
# tools/datasets/kitti_infos.py $KD3D_REAL_DATA/kitti_drive0005/training \
#     --out data/kitti_drive --train 0-109 --val 120-153 --read Van=Car
_base_ = ["mmdet3d::_base_/default_runtime.py"]

data_root = "{{$KD3D_REAL_DATA:data/real}}/kitti_drive0005/training/"
infos = "data/kitti_drive/"
point_cloud_range = [0, -20.48, -3, 40.96, 20.48, 1]
metainfo = dict(classes=["Cyclist", "Car"])

load_points = dict(type="LoadPointsFromFile", coord_type="LIDAR", load_dim=4, use_dim=4)
train_pipeline = [
    load_points,
    dict(type="LoadAnnotations3D", with_bbox_3d=True, with_label_3d=True),
    dict(type="RandomFlip3D", flip_ratio_bev_horizontal=0.5),
    dict(
        type="GlobalRotScaleTrans",
        rot_range=[-0.3, 0.3],
        scale_ratio_range=[0.95, 1.05],
        translation_std=[0, 0, 0],
    ),
    dict(type="PointsRangeFilter", point_cloud_range=point_cloud_range),
    dict(type="ObjectRangeFilter", point_cloud_range=point_cloud_range),
    dict(type="Pack3DDetInputs", keys=["points", "gt_bboxes_3d", "gt_labels_3d"]),
]
test_pipeline = [
    load_points,
    dict(type="PointsRangeFilter", point_cloud_range=point_cloud_range),
    dict(type="Pack3DDetInputs", keys=["points"]),
]
dataset = dict(
    type="KittiDataset",
    data_root="",
    data_prefix=dict(pts=data_root + "velodyne_reduced"),
    modality=dict(use_lidar=True, use_camera=False),
    metainfo=metainfo,
    box_type_3d="LiDAR",
)
train_dataloader = dict(
    batch_size=2,
    num_workers=0,  # a frame is read in a few ms
    sampler=dict(type="InfiniteSampler", shuffle=True),
    dataset=dict(ann_file=infos + "kitti_infos_train.pkl", pipeline=train_pipeline, **dataset),
)
val_dataloader = dict(
    batch_size=1,
    num_workers=0,
    sampler=dict(type="DefaultSampler", shuffle=False),
    dataset=dict(
        ann_file=infos + "kitti_infos_val.pkl", pipeline=test_pipeline, test_mode=True, **dataset
    ),
)
test_dataloader = val_dataloader
val_evaluator = dict(type="KittiRecordMetric", ann_file=infos + "kitti_infos_val.pkl")
test_evaluator = val_evaluator
default_hooks = dict(
    checkpoint=dict(by_epoch=False, interval=200, max_keep_ckpts=1),
    logger=dict(interval=50),
)
log_processor = dict(by_epoch=False)
