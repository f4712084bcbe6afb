"""The connector that a pair of shapes calls for."""

from torch import nn

from kd3d.bev_grid import BevGrid
from kd3d.bev_sampling import same_grid
from kd3d.connectors.bev import BevAlign
from kd3d.connectors.channels import Conv1x1, Linear
from kd3d.connectors.spatial import Conv1x1Resize, Resize
from kd3d.errors import UserError

Shape = tuple[int, ...]


def connector_for(
    student_shape: Shape,
    teacher_shape: Shape,
    student_grid: BevGrid | None = None,
    teacher_grid: BevGrid | None = None,
) -> nn.Module | None:
    """Chooses the connector of one level from the shapes seen in a dry forward.

    Args:
        student_shape: (B, C, H, W) of a map, or (B, N, C) of tokens.
        teacher_shape: likewise.
        student_grid: where a BEV map lies in metres; None for images.
        teacher_grid: likewise.

    Returns:
        ``BevAlign`` for maps on two grids that differ, also where their shapes do not. Else
        None for equal shapes; for maps ``Conv1x1``, ``Resize`` or ``Conv1x1Resize``, as channels,
        size or both differ; ``Linear`` for tokens whose channels differ.

    Raises:
        UserError: for all other shapes, with the lines to write instead. Vectors (B, C) are among
            them: they may be logits, and a layer between different classes would hide an error.
    """
    student_shape, teacher_shape = tuple(student_shape), tuple(teacher_shape)
    moved = (
        student_grid is not None
        and teacher_grid is not None
        and not same_grid(student_grid, teacher_grid)
    )
    if student_shape == teacher_shape and not moved:
        return None
    same_kind = len(student_shape) == len(teacher_shape)
    if not same_kind or student_shape[0] != teacher_shape[0]:
        raise UserError(_advice(student_shape, teacher_shape))
    if len(student_shape) == 4:
        if moved:
            return BevAlign(student_shape[1], teacher_shape[1])
        in_channels, out_channels = student_shape[1], teacher_shape[1]
        if student_shape[2:] == teacher_shape[2:]:
            return Conv1x1(in_channels, out_channels)
        if in_channels == out_channels:
            return Resize()
        return Conv1x1Resize(in_channels, out_channels)
    if len(student_shape) == 3 and student_shape[1] == teacher_shape[1]:
        return Linear(student_shape[2], teacher_shape[2])
    raise UserError(_advice(student_shape, teacher_shape))


def _advice(student: Shape, teacher: Shape) -> str:
    received = f"no automatic connector joins student {student} and teacher {teacher}; "
    if len(student) == len(teacher) and student[:-1] == teacher[:-1]:
        return received + (
            "if these are features and not logits, write into the pair:\n"
            f'    connector=dict(type="Linear", in_channels={student[-1]}, '
            f"out_channels={teacher[-1]}),"
        )
    if len(student) == len(teacher) and student[1:] == teacher[1:]:
        return received + (
            "the first axis must be the same images in both, so tap what is made once for each "
            'image, for example:\n    student="neck", teacher="neck",'
        )
    return received + (
        "tap features of one kind, (B, C, H, W) or (B, N, C), or register a connector of your own "
        "with @kd3d.registry.CONNECTORS.register_module() and write into the pair:\n"
        '    connector=dict(type="YourConnector"),'
    )
