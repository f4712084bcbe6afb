# Chapter (a) with eight times the training, and a teacher trained for longer: how much of it a
# student keeps in the end, and what it reaches without one.
recipe = dict(
    distilled="../det3d/centerpoint-pillar04-thin_from_pillar04_bev-response_synthetic-long.py",
    seeds=[1],
    train_teacher=True,
    control=dict(terms=[f"task{i}.loss_heatmap" for i in range(2)]),
    prepare=[
        dict(
            run="tools/datasets/make_synthetic_nuscenes.py --out data/synthetic_nuscenes "
            "--scenes 100 --val-scenes 10 --test-scenes 20 --keyframes 10 --lidar-range-m 25.6"
        )
    ],
)
