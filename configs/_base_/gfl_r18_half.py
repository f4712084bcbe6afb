# GFL with a ResNet-18 of half its width, made to be trained from scratch on a CPU.
model = dict(
    type="GFL",
    data_preprocessor=dict(
        type="DetDataPreprocessor",
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True,
        pad_size_divisor=32,
    ),
    backbone=dict(
        type="ResNet",
        depth=18,
        stem_channels=32,
        base_channels=32,
        out_indices=(1, 2, 3),
        norm_cfg=dict(type="BN"),
        norm_eval=False,  # from scratch: the statistics have to be learnt
    ),
    neck=dict(
        type="FPN",
        in_channels=[64, 128, 256],
        out_channels=64,
        add_extra_convs="on_output",
        num_outs=4,
    ),
    bbox_head=dict(
        type="GFLHead",
        num_classes=4,
        in_channels=64,
        feat_channels=64,
        stacked_convs=2,
        # not BN: one head serves all levels, and running statistics fit none of them
        norm_cfg=dict(type="GN", num_groups=8, requires_grad=True),
        anchor_generator=dict(
            type="AnchorGenerator",
            ratios=[1.0],
            octave_base_scale=4,  # half of GFL's: the images are a third as wide as COCO's
            scales_per_octave=1,
            strides=[8, 16, 32, 64],
        ),
        loss_cls=dict(type="QualityFocalLoss", use_sigmoid=True, beta=2.0, loss_weight=1.0),
        loss_dfl=dict(type="DistributionFocalLoss", loss_weight=0.25),
        loss_bbox=dict(type="GIoULoss", loss_weight=2.0),
        reg_max=16,
    ),
    train_cfg=dict(
        assigner=dict(type="ATSSAssigner", topk=9), allowed_border=-1, pos_weight=-1, debug=False
    ),
    test_cfg=dict(
        nms_pre=1000,
        min_bbox_size=0,
        score_thr=0.05,
        nms=dict(type="nms", iou_threshold=0.6),
        max_per_img=100,
    ),
)
