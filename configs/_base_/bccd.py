# BCCD: 364 microscope images of blood cells (640x480), with COCO json, in $KD3D_REAL_DATA/bccd.
# Small enough for several seeds on a CPU.
_base_ = ["mmdet::_base_/default_runtime.py"]

dataset_type = "CocoDataset"
data_root = "{{$KD3D_REAL_DATA:data/real}}/bccd/"
metainfo = dict(classes=("RBC", "WBC", "Platelets"))
image_scale = (256, 192)

train_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="LoadAnnotations", with_bbox=True),
    dict(type="Resize", scale=image_scale, keep_ratio=True),
    # blood has no up or down
    dict(
        type="RandomFlip",
        prob=[0.25, 0.25, 0.25],
        direction=["horizontal", "vertical", "diagonal"],
    ),
    dict(type="PhotoMetricDistortion"),
    dict(type="PackDetInputs"),
]
test_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="Resize", scale=image_scale, keep_ratio=True),
    dict(type="LoadAnnotations", with_bbox=True),
    dict(
        type="PackDetInputs",
        meta_keys=("img_id", "img_path", "ori_shape", "img_shape", "scale_factor"),
    ),
]
train_dataloader = dict(
    batch_size=8,
    num_workers=0,  # 1.5 ms an image: a second process would take the core that trains
    # MMEngine's loop sleeps 2 s at the end of each epoch, as long as 18 of its 26 iterations
    sampler=dict(type="InfiniteSampler", shuffle=True),
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        metainfo=metainfo,
        ann_file="annotations/instances_train.json",
        data_prefix=dict(img="images/"),
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    batch_size=8,
    num_workers=0,
    sampler=dict(type="DefaultSampler", shuffle=False),
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        metainfo=metainfo,
        ann_file="annotations/instances_val.json",
        data_prefix=dict(img="images/"),
        test_mode=True,
        pipeline=test_pipeline,
    ),
)
test_dataloader = dict(
    batch_size=8,
    num_workers=0,
    sampler=dict(type="DefaultSampler", shuffle=False),
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        metainfo=metainfo,
        ann_file="annotations/instances_test.json",
        data_prefix=dict(img="images/"),
        test_mode=True,
        pipeline=test_pipeline,
    ),
)
val_evaluator = dict(type="CocoRecordMetric", ann_file=data_root + "annotations/instances_val.json")
test_evaluator = dict(
    type="CocoRecordMetric", ann_file=data_root + "annotations/instances_test.json"
)
default_hooks = dict(
    checkpoint=dict(by_epoch=False, interval=100000),  # the last iteration is always saved
    logger=dict(interval=50),
)
log_processor = dict(by_epoch=False)
