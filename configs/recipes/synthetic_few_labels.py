# Chapter (b) on the synthetic world: the student has a tenth of the labels and all the frames, the
# teacher of chapter (a) speaks for the rest.
recipe = dict(
    distilled="../det3d/centerpoint-pillar04-thin_from_pillar04_bev-response-labels_synthetic-few-labels.py",
    seeds=[0, 1, 2, 3, 4],
    control=dict(terms=[f"task{i}.loss_heatmap" for i in range(2)]),
    equal_wall_clock=True,
    # the ablation
    variants={
        "bev": dict(pairs=["bev"]),
        "response": dict(pairs=["response"]),
        "no_teacher_boxes": dict(changes={"custom_hooks.2.additional_labels": None}),
    },
)
