# BCCD's student made ready for INT8: its own fp32 weights begin, and teach.
_base_ = ["gfl-r18-thin_bccd.py"]
load_from = "work_dirs/bccd_long/distilled/seed0/iter_900.pth"  # where the recipe leaves it
response = dict(type="DenseResponse")
custom_hooks = [
    dict(type="QuantizationAwareHook", percentile=99.99),
    dict(
        type="DistillHook",
        teacher=dict(config="configs/det2d/gfl-r18-thin_bccd.py", checkpoint=load_from),
        pairs=[
            dict(
                name="response", student="bbox_head", teacher="bbox_head", loss=response, weight=4.0
            )
        ],
    ),
]
max_iters = 80
train_cfg = dict(max_iters=max_iters)
optim_wrapper = dict(optimizer=dict(lr=0.0002))  # a fortieth of what the fp32 weights began with
param_scheduler = [
    dict(type="LinearLR", start_factor=0.05, by_epoch=False, begin=0, end=10),
    dict(type="CosineAnnealingLR", by_epoch=False, begin=10, end=max_iters, T_max=max_iters - 10),
]
