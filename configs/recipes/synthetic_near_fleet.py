# How much of a teacher that was trained for longer a student keeps, on the smaller world: it has
# all labels, and the teacher's word on five times as many frames of a fleet without.
recipe = dict(
    distilled="../det3d/centerpoint-pillar04-thin_from_pillar04_bev-response-labels_synthetic-near-fleet.py",
    seeds=[0, 1, 2, 3, 4],
    train_teacher=True,
    control=dict(terms=[f"task{i}.loss_heatmap" for i in range(2)]),  # as in demo.py
    prepare=[
        dict(
            run="tools/datasets/make_synthetic_nuscenes.py --out data/synthetic_near "
            "--scenes 60 --val-scenes 4 --test-scenes 16 --keyframes 10 --lidar-range-m 19.2"
        ),
        dict(
            run="tools/datasets/make_synthetic_nuscenes.py --out data/synthetic_near_fleet "
            "--scenes 300 --val-scenes 0 --keyframes 10 --lidar-range-m 19.2 --seed 1"
        ),
        dict(
            run="tools/datasets/make_synthetic_nuscenes.py --out data/synthetic_near_test "
            "--scenes 0 --val-scenes 0 --test-scenes 150 --keyframes 10 --lidar-range-m 19.2 "
            "--seed 14"
        ),
    ],
)
