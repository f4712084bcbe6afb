# The student on the synthetic world: a quarter of the channels and half the layers. It reads the
# teacher's pillars and halves the map; 0.8 m pillars are faster and lose small classes.
_base_ = ["centerpoint-pillar04_synthetic.py"]
model = dict(
    pts_voxel_encoder=dict(feat_channels=[16]),
    pts_middle_encoder=dict(in_channels=16),
    pts_backbone=dict(in_channels=16, out_channels=[16, 32, 40], layer_nums=[1, 3, 3]),
    pts_neck=dict(in_channels=[16, 32, 40], out_channels=[16, 16, 16]),
    pts_bbox_head=dict(
        in_channels=48,
        share_conv_channel=16,
        # one convolution a branch
        common_heads=dict(reg=(2, 1), height=(1, 1), dim=(3, 1), rot=(2, 1), vel=(2, 1)),
        num_heatmap_convs=1,
        separate_head=dict(head_conv=16),
    ),
)
# each frame in two forms that come again, so that a teacher's features of them can be kept on disk
replayed = dict(type="ReplayedAugmentation", variants=2, transforms=_base_.augment_and_pack)
train_dataloader = dict(
    dataset=dict(pipeline=[_base_.load_points, _base_.load_annotations, replayed])
)
max_iters = 2000
train_cfg = dict(max_iters=max_iters)
param_scheduler = [
    dict(type="LinearLR", start_factor=0.05, by_epoch=False, begin=0, end=30),
    dict(type="CosineAnnealingLR", by_epoch=False, begin=30, end=max_iters, T_max=max_iters - 30),
]
optim_wrapper = dict(optimizer=dict(lr=0.008))  # tuned on val without a teacher
