# YOLOX-tiny made ready for INT8: its own fp32 weights begin, and teach. Activations (SiLU) have
# outliers: with ranges that take them all in, YOLOX-nano fell from AP 33.5 to 0.9. Not run on COCO.
_base_ = ["mmdet::yolox/yolox_tiny_8xb8-300e_coco.py", "../_base_/kd3d.py"]
load_from = "https://download.openmmlab.com/mmdetection/v2.0/yolox/yolox_tiny_8x8_300e_coco/yolox_tiny_8x8_300e_coco_20211124_171234-b4047906.pth"
response = dict(type="DenseResponse")
mode_switch, sync_norm, ema = _base_.custom_hooks
max_epochs = 5
mode_switch.num_last_epochs = max_epochs - 1  # no mosaic from the first epoch on
custom_hooks = [
    mode_switch,
    sync_norm,
    ema,
    dict(type="QuantizationAwareHook"),
    dict(
        type="DistillHook",
        teacher=dict(config="mmdet::yolox/yolox_tiny_8xb8-300e_coco.py", checkpoint=load_from),
        pairs=[
            dict(
                name="response", student="bbox_head", teacher="bbox_head", loss=response, weight=5.0
            )
        ],
    ),
]
train_cfg = dict(max_epochs=max_epochs, val_interval=1)
optim_wrapper = dict(optimizer=dict(lr=0.0001))
param_scheduler = [
    dict(
        type="CosineAnnealingLR",
        by_epoch=True,
        begin=0,
        end=max_epochs,
        T_max=max_epochs,
        convert_to_iter_based=True,
    )
]
