"""Asks nvidia-smi about the first GPU, which the backends use.

Absent on JetPack 5; on later ones it knows the name and little else. Runs on the vehicle too:
Python 3.8, standard library only.
"""

from __future__ import annotations

from kd3d.profiling.system import System

_UNKNOWN = ("[N/A]", "[Not Supported]", "N/A", "[Unknown Error]", "[Insufficient Permissions]")


def query_gpu(system: System, *fields: str) -> list[str]:
    """Value of each field, as text without unit; empty where nvidia-smi does not know it."""
    command = ["nvidia-smi", "--id=0", f"--query-gpu={','.join(fields)}"]
    line = system.run([*command, "--format=csv,noheader,nounits"]).strip().split("\n")[0]
    values = [value.strip() for value in line.split(",")]
    if len(values) != len(fields):  # an old driver refuses a whole query for one field
        return [""] * len(fields)
    return ["" if value in _UNKNOWN else value for value in values]


def compute_processes(system: System) -> list[int]:
    """Process ids that have a context on any GPU."""
    command = ["nvidia-smi", "--query-compute-apps=pid", "--format=csv,noheader,nounits"]
    return [int(line) for line in system.run(command).split() if line.isdigit()]
