_base_ = ["gfl-r18-thin_traffic.py"]
pkd = dict(type="PearsonDistance")
response = dict(type="DenseResponse")
custom_hooks = [
    dict(
        type="DistillHook",
        teacher=dict(
            config="configs/det2d/gfl-r18-half_traffic.py",
            checkpoint="work_dirs/traffic_scenes/teacher/final.pth",  # where the recipe leaves it
        ),
        pairs=[
            dict(name="neck", student="neck", teacher="neck", loss=pkd, weight=2.0),
            dict(name="response", student="bbox_head", teacher="bbox_head", loss=response),
        ],
    ),
]
