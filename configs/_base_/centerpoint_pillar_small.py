# CenterPoint on pillars, the layers of mmdet3d's centerpoint_pillar02 with smaller numbers:
# 25.6 m around, 0.4 m pillars, a map of 0.8 m cells, made to be trained from scratch on a CPU.
model_range = [-25.6, -25.6, -5.0, 25.6, 25.6, 3.0]
voxel_size = [0.4, 0.4, 8]
norm_cfg = dict(type="BN", eps=1e-3, momentum=0.05)
post_center_range = [-28.8, -28.8, -10.0, 28.8, 28.8, 10.0]

model = dict(
    type="CenterPoint",
    data_preprocessor=dict(
        type="Det3DDataPreprocessor",
        voxel=True,
        voxel_layer=dict(
            max_num_points=10,
            voxel_size=voxel_size,
            point_cloud_range=model_range,
            max_voxels=(16000, 25600),
        ),
    ),
    pts_voxel_encoder=dict(
        type="kd3d.ScaledPillarFeatureNet",
        # x y z intensity ring, offset to the pillar's mean, offset to its centre
        feature_scale=[
            *(0.03, 0.03, 0.5, 0.01, 0.06),
            *(5.0, 5.0, 2.0),
            *(5.0, 5.0, 0.5),
        ],
        in_channels=5,
        feat_channels=[32],
        voxel_size=voxel_size,
        point_cloud_range=model_range,
        norm_cfg=dict(type="BN1d", eps=1e-3, momentum=0.05),
        legacy=False,
    ),
    pts_middle_encoder=dict(type="PointPillarsScatter", in_channels=32, output_shape=(128, 128)),
    pts_backbone=dict(
        type="SECOND",
        in_channels=32,
        out_channels=[32, 64, 128],
        layer_nums=[3, 5, 5],
        layer_strides=[2, 2, 2],
        norm_cfg=norm_cfg,
        conv_cfg=dict(type="Conv2d", bias=False),
    ),
    pts_neck=dict(
        type="SECONDFPN",
        in_channels=[32, 64, 128],
        out_channels=[32, 32, 32],
        upsample_strides=[1, 2, 4],
        norm_cfg=norm_cfg,
        upsample_cfg=dict(type="deconv", bias=False),
        use_conv_for_no_stride=True,
    ),
    pts_bbox_head=dict(
        type="CenterHead",
        in_channels=96,
        # two of nuScenes' six tasks' kind, large and small: a task costs as much as the backbone
        tasks=[
            dict(
                num_class=5,
                class_names=["car", "truck", "construction_vehicle", "bus", "trailer"],
            ),
            dict(
                num_class=5,
                class_names=["barrier", "motorcycle", "bicycle", "pedestrian", "traffic_cone"],
            ),
        ],
        common_heads=dict(reg=(2, 2), height=(1, 2), dim=(3, 2), rot=(2, 2), vel=(2, 2)),
        num_heatmap_convs=2,
        share_conv_channel=32,
        bbox_coder=dict(
            type="kd3d.ClassNmsBBoxCoder",
            # of each class of each task, m2; two tasks in which classes suppress one another lose
            # the rare ones
            class_limits_m2=[[4, 12, 12, 12, 12], [1, 0.85, 0.85, 0.3, 0.3]],
            pc_range=model_range[:2],
            post_center_range=post_center_range,
            max_num=500,
            score_threshold=0.05,
            out_size_factor=2,
            voxel_size=voxel_size[:2],
            code_size=9,
        ),
        separate_head=dict(type="SeparateHead", head_conv=32, init_bias=-2.19, final_kernel=3),
        loss_cls=dict(type="mmdet.GaussianFocalLoss", reduction="mean"),
        loss_bbox=dict(type="mmdet.L1Loss", reduction="mean", loss_weight=0.25),
        norm_bbox=True,
    ),
    train_cfg=dict(
        pts=dict(
            grid_size=[128, 128, 1],
            voxel_size=voxel_size,
            point_cloud_range=model_range,
            out_size_factor=2,
            dense_reg=1,
            gaussian_overlap=0.1,
            max_objs=200,
            min_radius=2,
            code_weights=[1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.2, 0.2],
        )
    ),
    test_cfg=dict(
        pts=dict(
            pc_range=model_range[:2],
            post_center_limit_range=post_center_range,
            max_per_img=200,
            max_pool_nms=False,
            min_radius=[-1, -1],  # the coder's class_limits_m2 instead
            score_threshold=0.05,
            out_size_factor=2,
            voxel_size=voxel_size[:2],
            nms_type="circle",
            pre_max_size=1000,
            post_max_size=250,
            nms_thr=0.2,
        )
    ),
)
