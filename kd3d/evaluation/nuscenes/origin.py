"""Whether a data set in nuScenes' format was recorded on roads or made up."""

from pathlib import Path

from kd3d.evaluation.nuscenes.table_rows import table_rows

SYNTHETIC_VEHICLE = "synthetic"  # of every log that kd3d.datasets.synthetic writes


def origin_of(data_root: str | Path, version: str) -> dict[str, str]:
    """What a record's dataset says of it: ``synthetic="yes"`` for a made-up world, or nothing.

    One log of a synthetic vehicle makes all of it synthetic; without a log table nothing is said.
    """
    folder = Path(data_root) / version
    if not (folder / "log.json").is_file():
        return {}
    made_up = any(row.get("vehicle") == SYNTHETIC_VEHICLE for row in table_rows(folder, "log"))
    return {"synthetic": "yes"} if made_up else {}
