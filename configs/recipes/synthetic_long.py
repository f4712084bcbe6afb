# Chapter (a) with eight times the training: how much of the teacher a student keeps in the end, and
# what it reaches without one. It needs the teacher of synthetic_all_labels.py.
recipe = dict(
    distilled="../det3d/centerpoint-pillar04-thin_from_pillar04_bev-response_synthetic-long.py",
    seeds=[0],
    control=dict(terms=[f"task{i}.loss_heatmap" for i in range(2)]),
)
