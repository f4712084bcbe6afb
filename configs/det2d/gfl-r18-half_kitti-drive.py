# The teacher for the KITTI drive.
_base_ = [
    "../_base_/gfl_r18_half.py",
    "../_base_/kitti_drive.py",
    "../_base_/schedule_cpu.py",
    "../_base_/kd3d.py",
]
