"""Connectors bring the student's feature into the teacher's shape.

Every connector is called as ``connector(student, teacher) -> Tensor``; ``BevAlign`` is given both
grids as well. Only the student's feature is changed; of the teacher's nothing is read but its
spatial size. Importing this package registers all of them in CONNECTORS.
"""

from kd3d.connectors.auto import connector_for
from kd3d.connectors.bev import BevAlign
from kd3d.connectors.channels import Conv1x1, Linear
from kd3d.connectors.spatial import Conv1x1Resize, Resize

__all__ = ["BevAlign", "Conv1x1", "Conv1x1Resize", "Linear", "Resize", "connector_for"]
