# The teacher on the synthetic world.
_base_ = [
    "../_base_/centerpoint_pillar_small.py",
    "../_base_/synthetic_nuscenes.py",
    "../_base_/schedule_cpu.py",
    "../_base_/kd3d.py",
]
custom_imports = dict(
    imports=[
        *_base_.custom_imports.imports,
        "kd3d.models.class_nms",
        "kd3d.models.scaled_pillars",
    ]
)
max_iters = 3000
train_cfg = dict(max_iters=max_iters)
param_scheduler = [
    dict(type="LinearLR", start_factor=0.05, by_epoch=False, begin=0, end=30),
    dict(type="CosineAnnealingLR", by_epoch=False, begin=30, end=max_iters, T_max=max_iters - 30),
]
optim_wrapper = dict(optimizer=dict(lr=0.003), clip_grad=dict(max_norm=35.0))
custom_hooks = [
    dict(type="InitSeparateHeads"),  # MMDetection3D does not reach them
    dict(type="ChannelsLastHook"),
]
