# Chapter (b) on the smaller world: the student has a tenth of the labels and all frames, the
# teacher, that of synthetic_near.py, had all labels. Which part brings what: the variants.
recipe = dict(
    distilled="../det3d/centerpoint-pillar04-thin_from_pillar04_bev-response-labels_synthetic-near-few-labels.py",
    seeds=[0, 1, 2, 3, 4],
    control=dict(terms=[f"task{i}.loss_heatmap" for i in range(2)]),  # as in demo.py
    equal_wall_clock=True,
    variants={
        "bev": dict(pairs=["bev"]),
        "response": dict(pairs=["response"]),
        "no_teacher_boxes": dict(changes={"custom_hooks.2.additional_labels": None}),
    },
    prepare=[
        dict(
            run="tools/datasets/make_synthetic_nuscenes.py --out data/synthetic_near "
            "--scenes 60 --val-scenes 4 --test-scenes 16 --keyframes 10 --lidar-range-m 19.2"
        )
    ],
)
