# The synthetic driving world in nuScenes' format, LiDAR only, seen by a LiDAR of 25.6 m:
# tools/datasets/make_synthetic_nuscenes.py --out data/synthetic_nuscenes --scenes 100 \
#     --val-scenes 10 --test-scenes 20 --keyframes 10 --lidar-range-m 25.6
# Objects without a return are not evaluated, so nuScenes' own ranges stay as they are.
_base_ = ["mmdet3d::_base_/default_runtime.py"]

data_root = "data/synthetic_nuscenes/"
version = "v1.0-trainval"
point_cloud_range = [-25.6, -25.6, -5.0, 25.6, 25.6, 3.0]
# in the order of CenterHead's tasks: its labels count through them
class_names = [
    *("car", "truck", "construction_vehicle", "bus", "trailer", "barrier"),
    *("motorcycle", "bicycle", "pedestrian", "traffic_cone"),
]
metainfo = dict(classes=class_names)

load_points = dict(type="LoadPointsFromFile", coord_type="LIDAR", load_dim=5, use_dim=5)
load_annotations = dict(type="LoadAnnotations3D", with_bbox_3d=True, with_label_3d=True)
augment_and_pack = [
    # no flips: traffic keeps to one side of the road, which tells where a far car is heading
    dict(
        type="GlobalRotScaleTrans",
        rot_range=[-0.3925, 0.3925],
        scale_ratio_range=[0.95, 1.05],
        translation_std=[0, 0, 0],
    ),
    dict(type="PointsRangeFilter", point_cloud_range=point_cloud_range),
    dict(type="ObjectRangeFilter", point_cloud_range=point_cloud_range),
    dict(type="ObjectNameFilter", classes=class_names),
    dict(type="Pack3DDetInputs", keys=["points", "gt_bboxes_3d", "gt_labels_3d"]),
]
train_pipeline = [load_points, load_annotations, *augment_and_pack]
test_pipeline = [
    load_points,
    dict(type="PointsRangeFilter", point_cloud_range=point_cloud_range),
    dict(type="Pack3DDetInputs", keys=["points"]),
]
dataset = dict(
    type="NuScenesDataset",
    data_root=data_root,
    metainfo=metainfo,
    modality=dict(use_lidar=True, use_camera=False),
    data_prefix=dict(pts="samples/LIDAR_TOP", img="", sweeps="sweeps/LIDAR_TOP"),
    box_type_3d="LiDAR",
)
train_dataloader = dict(
    batch_size=4,
    num_workers=0,  # a frame is read in a few ms; a second process would take a core that trains
    sampler=dict(type="InfiniteSampler", shuffle=True),
    dataset=dict(
        ann_file="nuscenes_infos_train.pkl", pipeline=train_pipeline, test_mode=False, **dataset
    ),
)
val_dataloader = dict(
    batch_size=4,
    num_workers=0,
    sampler=dict(type="DefaultSampler", shuffle=False),
    dataset=dict(
        ann_file="nuscenes_infos_val.pkl", pipeline=test_pipeline, test_mode=True, **dataset
    ),
)
test_dataloader = dict(
    batch_size=4,
    num_workers=0,
    sampler=dict(type="DefaultSampler", shuffle=False),
    dataset=dict(
        ann_file="nuscenes_infos_test.pkl", pipeline=test_pipeline, test_mode=True, **dataset
    ),
)
val_evaluator = dict(
    type="NuScenesFastMetric",
    data_root=data_root,
    version=version,
    ann_file="nuscenes_infos_val.pkl",
    split="synthetic_val",
)
test_evaluator = dict(
    type="NuScenesFastMetric",
    data_root=data_root,
    version=version,
    ann_file="nuscenes_infos_test.pkl",
    split="synthetic_test",
)
default_hooks = dict(
    checkpoint=dict(by_epoch=False, interval=500, max_keep_ckpts=1),
    logger=dict(interval=50),
)
log_processor = dict(by_epoch=False)
