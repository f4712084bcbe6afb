"""Boxes of a split as plain arrays: what the evaluator reads."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Boxes:
    """N boxes of all frames of a split in the global frame, predictions or ground truth.

    The order matters: among equal scores the later box is matched first, and among equally
    distant ground truth the earlier one is taken.

    Attributes:
        frame: (N,) index of the frame a box lies in.
        label: (N,) index into ``protocol.CLASSES``.
        center_m: (N, 3) x y z of the middle of the box.
        size_m: (N, 3) width, length, height.
        rotation: (N, 4) quaternion w x y z; it need not have unit length.
        velocity: (N, 2) x y in m/s; NaN where unknown.
        score: (N,) of a prediction; -1 for ground truth.
        attribute: (N,) index into ``protocol.ATTRIBUTES``, or -1 for none.
        points: (N,) LiDAR and radar points in the box; -1 for predictions. Boxes with 0 are left
            out of the evaluation.
    """

    frame: Ints
    label: Ints
    center_m: Floats
    size_m: Floats
    rotation: Floats
    velocity: Floats
    score: Floats
    attribute: Ints
    points: Ints

    def __post_init__(self) -> None:
        N = len(self.frame)
        for name, width in _WIDTHS.items():
            expected = (N,) if width == 1 else (N, width)
            got = getattr(self, name).shape
            if got != expected:
                raise ValueError(f"Boxes.{name}: expected shape {expected}, got {got}")

    def __len__(self) -> int:
        return len(self.frame)

    def __getitem__(self, index: Ints | Mask | slice) -> "Boxes":
        return Boxes(**{name: getattr(self, name)[index] for name in _WIDTHS})

    @classmethod
    def empty(cls) -> "Boxes":
        """No boxes."""
        return cls.of({})

    @classmethod
    def of(cls, columns: dict[str, object]) -> "Boxes":
        """Boxes from lists or arrays of any numeric type; missing columns must all be empty."""
        arrays: dict[str, Any] = {}  # Any: float64 or int64
        for name, width in _WIDTHS.items():
            kind = np.float64 if name in _FLOATS else np.int64
            values = np.asarray(columns.get(name, ()), dtype=kind)
            arrays[name] = values.reshape(-1, width) if width > 1 else values.reshape(-1)
        return cls(**arrays)

    @classmethod
    def concatenate(cls, parts: "list[Boxes]") -> "Boxes":
        """The boxes of all parts, in order."""
        if not parts:
            return cls.empty()
        return cls(
            **{name: np.concatenate([getattr(part, name) for part in parts]) for name in _WIDTHS}
        )


_FLOATS = ("center_m", "size_m", "rotation", "velocity", "score")
_WIDTHS = {"center_m": 3, "size_m": 3, "rotation": 4, "velocity": 2}
_WIDTHS = {field.name: _WIDTHS.get(field.name, 1) for field in dataclasses.fields(Boxes)}


@dataclass(frozen=True)
class GroundTruth:
    """The ground truth of a split.

    Attributes:
        tokens: sample tokens of the F frames, in the order of the sample table.
        ego_m: (F, 3) position of the ego vehicle at the LiDAR's time, global frame.
        boxes: annotations of the ten classes, in the order of their table within each frame.
        rack_frame: (R,) the frame of each annotated bicycle rack.
        rack_m: (R, 4, 3) a corner of the rack and the three edges from there, as
            ``filters.rack_edges`` answers.
    """

    tokens: tuple[str, ...]
    ego_m: Floats
    boxes: Boxes
    rack_frame: Ints
    rack_m: Floats

    def of_frames(self, kept: Sequence[int]) -> "GroundTruth":
        """The ground truth of some of the frames, numbered anew in their order.

        Args:
            kept: indices of frames, rising.
        """
        new = np.full(len(self.tokens), -1)
        new[list(kept)] = np.arange(len(kept))
        boxes = self.boxes[new[self.boxes.frame] >= 0]
        racks = new[self.rack_frame] >= 0
        return GroundTruth(
            tokens=tuple(self.tokens[frame] for frame in kept),
            ego_m=self.ego_m[list(kept)],
            boxes=dataclasses.replace(boxes, frame=new[boxes.frame]),
            rack_frame=new[self.rack_frame[racks]],
            rack_m=self.rack_m[racks],
        )
