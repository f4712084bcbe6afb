# The runs of synthetic_fleet.py go on with frames that are neither turned nor scaled, twins too.
recipe = dict(
    distilled="../det3d/centerpoint-pillar04-thin_from_pillar04_response-labels_synthetic-fleet-unturned.py",
    continues="work_dirs/synthetic_fleet",
    seeds=[1],
    control=dict(terms=[f"task{i}.loss_heatmap" for i in range(2)]),
)
