# The same with the larger model as the teacher of the INT8 student.
_base_ = ["gfl-r18-thin_from_r18-thin_int8-response_bccd.py"]
custom_hooks = _base_.custom_hooks
custom_hooks[1].teacher = dict(
    config="configs/det2d/gfl-efficientnet-lite0_bccd.py",
    checkpoint="work_dirs/bccd/teacher/iter_600.pth",
)
