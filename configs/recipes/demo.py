# The demo, chapter (b) in minutes: a synthetic driving world, a CenterPoint teacher that had all
# labels, and a student of a tenth of its size that has a tenth of them and all the frames.
recipe = dict(
    distilled="../demo/centerpoint-pillar04-thin_from_pillar04_bev-response-labels_synthetic.py",
    seeds=[0, 1],  # enough to see that one seed proves nothing; more: --seeds 0 1 2 3
    train_teacher=True,
    # the terms that the response makes stronger; all of them at once would change little under
    # AdamW, which divides the gradient by its own size
    control=dict(terms=[f"task{i}.loss_heatmap" for i in range(2)]),
    export=True,
    prepare=[
        dict(
            run="tools/datasets/make_synthetic_nuscenes.py --out data/synthetic_near "
            "--scenes 60 --val-scenes 4 --test-scenes 16 --keyframes 10 --lidar-range-m 19.2"
        )
    ],
)
