# Chapter (b) with four times the training. It needs the teacher of synthetic_long.py.
recipe = dict(
    distilled="../det3d/centerpoint-pillar04-thin_from_pillar04_bev-response-labels_synthetic-few-labels-long.py",
    seeds=[0],
    control=dict(terms=[f"task{i}.loss_heatmap" for i in range(2)]),
)
