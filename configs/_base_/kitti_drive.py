# One KITTI drive (0005): frames 0-109 train, 120-153 val. One drive, so results do not generalise.
# Annotations: tools/datasets/kitti_to_coco.py $KD3D_REAL_DATA/kitti_drive0005/training \
#     --out data/kitti_drive --train 0-109 --val 120-153
_base_ = ["mmdet::_base_/default_runtime.py"]

image_root = "{{$KD3D_REAL_DATA:data/real}}/kitti_drive0005/training/image_2/"
annotations = "data/kitti_drive/annotations/"
metainfo = dict(classes=("Car", "Van", "Cyclist", "Pedestrian"))

train_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="LoadAnnotations", with_bbox=True),
    dict(type="Resize", scale=(416, 128), keep_ratio=True),  # 1242x375 becomes 416x126
    dict(type="RandomFlip", prob=0.5),
    dict(type="PackDetInputs"),
]
test_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="Resize", scale=(416, 128), keep_ratio=True),
    dict(type="LoadAnnotations", with_bbox=True),
    dict(
        type="PackDetInputs",
        meta_keys=("img_id", "img_path", "ori_shape", "img_shape", "scale_factor"),
    ),
]
train_dataloader = dict(
    batch_size=8,
    num_workers=1,  # decoding a large JPEG costs about as much as the student's step
    persistent_workers=True,
    sampler=dict(type="InfiniteSampler", shuffle=True),
    dataset=dict(
        type="CocoDataset",
        metainfo=metainfo,
        ann_file=annotations + "instances_train.json",
        data_prefix=dict(img=image_root),
        filter_cfg=dict(filter_empty_gt=True),  # frames with regions to ignore only stay
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    batch_size=8,
    num_workers=1,
    persistent_workers=True,
    sampler=dict(type="DefaultSampler", shuffle=False),
    dataset=dict(
        type="CocoDataset",
        metainfo=metainfo,
        ann_file=annotations + "instances_val.json",
        data_prefix=dict(img=image_root),
        test_mode=True,
        pipeline=test_pipeline,
    ),
)
test_dataloader = val_dataloader
val_evaluator = dict(type="CocoRecordMetric", ann_file=annotations + "instances_val.json")
test_evaluator = val_evaluator
default_hooks = dict(
    checkpoint=dict(by_epoch=False, interval=200, max_keep_ckpts=1),
    logger=dict(interval=50),
)
log_processor = dict(by_epoch=False)
