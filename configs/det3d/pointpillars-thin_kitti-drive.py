# The student for the LiDAR of the KITTI drive: pillars of twice the side, half of the channels.
_base_ = ["pointpillars_kitti-drive.py"]
voxel_size = [0.32, 0.32, 4]
model = dict(
    data_preprocessor=dict(voxel_layer=dict(voxel_size=voxel_size)),
    voxel_encoder=dict(feat_channels=[16], voxel_size=voxel_size),
    middle_encoder=dict(in_channels=16, output_shape=[128, 128]),
    backbone=dict(
        in_channels=16, out_channels=[16, 32, 64], layer_nums=[2, 2, 2], layer_strides=[1, 2, 2]
    ),
    neck=dict(in_channels=[16, 32, 64], out_channels=[32, 32, 32]),
    bbox_head=dict(in_channels=96, feat_channels=96),
)
