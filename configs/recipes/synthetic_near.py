# Chapter (a) on the smaller world: all frames labelled for teacher and student.
recipe = dict(
    distilled="../det3d/centerpoint-pillar04-thin_from_pillar04_bev-response_synthetic-near.py",
    seeds=[0, 1, 2, 3, 4],
    train_teacher=True,
    control=dict(terms=[f"task{i}.loss_heatmap" for i in range(2)]),  # as in demo.py
    equal_wall_clock=True,
    export=True,
    prepare=[
        dict(
            run="tools/datasets/make_synthetic_nuscenes.py --out data/synthetic_near "
            "--scenes 60 --val-scenes 4 --test-scenes 16 --keyframes 10 --lidar-range-m 19.2"
        )
    ],
)
