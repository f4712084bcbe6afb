# Chapter (a) on the synthetic world: teacher and student learn from the same labelled frames.
recipe = dict(
    distilled="../det3d/centerpoint-pillar04-thin_from_pillar04_bev-response_synthetic.py",
    seeds=[0, 1, 2, 3, 4],
    train_teacher=True,
    # the terms that the response makes stronger, as in demo.py
    control=dict(terms=[f"task{i}.loss_heatmap" for i in range(2)]),
    equal_wall_clock=True,
    variants={"bev": dict(pairs=["bev"]), "response": dict(pairs=["response"])},  # the ablation
    export=True,
    prepare=[
        dict(
            run="tools/datasets/make_synthetic_nuscenes.py --out data/synthetic_nuscenes "
            "--scenes 100 --val-scenes 10 --test-scenes 20 --keyframes 10 --lidar-range-m 25.6"
        )
    ],
)
