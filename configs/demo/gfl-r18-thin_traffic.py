# The demo's student: the teacher at half of its width, with one convolution in its head.
_base_ = ["gfl-r18-half_traffic.py"]
model = dict(
    backbone=dict(stem_channels=16, base_channels=16),
    neck=dict(in_channels=[32, 64, 128], out_channels=32),
    bbox_head=dict(in_channels=32, feat_channels=32, stacked_convs=1),
)
