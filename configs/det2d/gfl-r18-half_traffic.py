# The teacher on drawn traffic scenes.
_base_ = [
    "../_base_/gfl_r18_half.py",
    "../_base_/traffic_scenes.py",
    "../_base_/schedule_cpu.py",
    "../_base_/kd3d.py",
]
