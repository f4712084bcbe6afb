# Drawn traffic scenes, a teacher and a student of a quarter of its size, on a CPU.
recipe = dict(
    distilled="../det2d/gfl-r18-thin_from_r18-half_pkd-response_traffic.py",
    seeds=[0, 1],  # enough to see that one seed proves nothing; more: --seeds 0 1 2 3
    train_teacher=True,
    # the terms that the response pair makes stronger; all of them at once would change little
    # under AdamW, which divides the gradient by its own size
    control=dict(terms=["loss_cls", "loss_bbox"]),
    export=True,
    input_size=(192, 320),
    prepare=[dict(run="tools/datasets/make_traffic_scenes.py --out data/traffic_scenes")],
)
