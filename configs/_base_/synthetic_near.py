# A smaller driving world for `make demo`: a LiDAR of 19.2 m, 48 x 48 cells of 0.8 m. What differs
# from synthetic_nuscenes.py and centerpoint_pillar_small.py, for configs built on these:
# tools/datasets/make_synthetic_nuscenes.py --out data/synthetic_near \
#     --scenes 60 --val-scenes 4 --test-scenes 16 --keyframes 10 --lidar-range-m 19.2
near_root = "data/synthetic_near/"
near_range = [-19.2, -19.2, -5.0, 19.2, 19.2, 3.0]
near_centers = [-22.4, -22.4, -10.0, 22.4, 22.4, 10.0]
near_model = dict(
    data_preprocessor=dict(voxel_layer=dict(point_cloud_range=near_range)),
    pts_voxel_encoder=dict(point_cloud_range=near_range),
    pts_middle_encoder=dict(output_shape=(96, 96)),
    pts_bbox_head=dict(bbox_coder=dict(pc_range=near_range[:2], post_center_range=near_centers)),
    train_cfg=dict(pts=dict(grid_size=[96, 96, 1], point_cloud_range=near_range)),
    test_cfg=dict(pts=dict(pc_range=near_range[:2], post_center_limit_range=near_centers)),
)
# Before each heatmap the student has a convolution more than the larger world's: with one it tells
# objects of different classes, and from what is none, by a linear rule.
near_student = dict(
    near_model, pts_bbox_head=dict(near_model["pts_bbox_head"], num_heatmap_convs=2)
)
near_dataloader = dict(dataset=dict(data_root=near_root))
near_evaluator = dict(data_root=near_root)
# A larger test for what differs little: 160 frames leave NDS to the chance of the rare classes.
# tools/datasets/make_synthetic_nuscenes.py --out data/synthetic_near_test \
#     --scenes 0 --val-scenes 0 --test-scenes 150 --keyframes 10 --lidar-range-m 19.2 --seed 14
near_test_root = "data/synthetic_near_test/"
near_test_dataloader = dict(dataset=dict(data_root=near_test_root))
near_test_evaluator = dict(data_root=near_test_root)
