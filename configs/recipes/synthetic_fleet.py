# How much of the long-trained teacher a student keeps that has all labels, and the teacher's word
# on six times as many frames without. The teacher is that of synthetic_long.py.
recipe = dict(
    distilled="../det3d/centerpoint-pillar04-thin_from_pillar04_response-labels_synthetic-fleet.py",
    seeds=[1],
    control=dict(terms=[f"task{i}.loss_heatmap" for i in range(2)]),
    prepare=[
        dict(
            run="tools/datasets/make_synthetic_nuscenes.py --out data/synthetic_fleet --scenes 600 "
            "--val-scenes 0 --keyframes 10 --lidar-range-m 25.6 --seed 1"
        )
    ],
)
