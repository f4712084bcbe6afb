# The demo over more seeds, with twins of equal wall clock and the ablation. With --work-dir
# work_dirs/demo what `make demo` has done stays.
_base_ = ["demo.py"]
recipe = dict(
    seeds=[0, 1, 2],
    equal_wall_clock=True,
    variants={
        "bev": dict(pairs=["bev"]),
        "response": dict(pairs=["response"]),
        "no_teacher_boxes": dict(changes={"custom_hooks.2.additional_labels": None}),
    },
)
