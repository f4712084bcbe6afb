# BCCD's student: GFL with a ResNet-18 of a quarter of its width, 0.83 M parameters, from scratch.
_base_ = ["../_base_/bccd.py", "../_base_/schedule_cpu.py", "../_base_/kd3d.py"]

channels = 48
model = dict(
    type="GFL",
    data_preprocessor=dict(
        type="DetDataPreprocessor",
        mean=[127.0, 127.0, 127.0],  # the teacher's weights want these: both see the same tensor
        std=[128.0, 128.0, 128.0],
        bgr_to_rgb=True,
        pad_size_divisor=32,
    ),
    backbone=dict(
        type="ResNet",
        depth=18,
        base_channels=16,
        stem_channels=16,
        out_indices=(1, 2, 3),
        norm_cfg=dict(type="BN"),
        norm_eval=False,
    ),
    neck=dict(type="FPN", in_channels=[32, 64, 128], out_channels=channels, num_outs=3),
    bbox_head=dict(
        type="GFLHead",
        num_classes=3,
        in_channels=channels,
        feat_channels=channels,
        stacked_convs=1,
        # not BN: the levels share the head, and its running statistics would fit none of them
        norm_cfg=dict(type="GN", num_groups=16, requires_grad=True),
        anchor_generator=dict(
            type="AnchorGenerator",
            ratios=[1.0],
            octave_base_scale=4,
            scales_per_octave=1,
            strides=[8, 16, 32],
        ),
        reg_max=8,  # 64 px to each side at stride 8; the largest cell extends 73 px from its middle
        loss_cls=dict(type="QualityFocalLoss", use_sigmoid=True, beta=2.0, loss_weight=1.0),
        loss_dfl=dict(type="DistributionFocalLoss", loss_weight=0.25),
        loss_bbox=dict(type="GIoULoss", loss_weight=2.0),
    ),
    train_cfg=dict(
        assigner=dict(type="ATSSAssigner", topk=9), allowed_border=-1, pos_weight=-1, debug=False
    ),
    test_cfg=dict(
        nms_pre=1000,
        min_bbox_size=0,
        score_thr=0.01,
        nms=dict(type="nms", iou_threshold=0.6),
        max_per_img=100,
    ),
)

max_iters = 300
train_cfg = dict(max_iters=max_iters)
# best of 0.001, 0.002, 0.004, 0.008, 0.016 for the student without a teacher, on val, two seeds
optim_wrapper = dict(optimizer=dict(lr=0.008))
param_scheduler = [
    dict(type="LinearLR", start_factor=0.05, by_epoch=False, begin=0, end=30),
    dict(type="CosineAnnealingLR", by_epoch=False, begin=30, end=max_iters, T_max=max_iters - 30),
]
