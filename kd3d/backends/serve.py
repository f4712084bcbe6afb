"""Answers inputs on standard input with a backend's outputs on standard output.

python3 -m kd3d.backends.serve BUNDLE --backend tensorrt --precision fp16 --engines DIR

``kd3d.backends.remote`` runs it over SSH. First comes a line that says what was opened. Then, each
time: 8 bytes with the length of a .npz (big-endian) and the .npz with the inputs; the answer is a
line of JSON with its "size" and that many bytes of .npz, or with an "error". Python 3.8.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import sys
from pathlib import Path
from typing import Any, BinaryIO, Mapping, Sequence  # noqa: UP035  (the vehicle runs Python 3.8)

import numpy as np

from kd3d.backends.base import Array, Backend
from kd3d.backends.bundle import PRECISIONS, Bundle
from kd3d.backends.open_bundle import BUNDLE_BACKENDS, open_bundle
from kd3d.backends.vehicle_side import MARK
from kd3d.errors import UserError, user_errors

LENGTH_BYTES = 8


def parse_args(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description="See the head of the file.")
    parser.add_argument("folder", type=Path, metavar="BUNDLE")
    parser.add_argument("--backend", required=True, choices=BUNDLE_BACKENDS)
    parser.add_argument("--precision", default="fp32", choices=PRECISIONS)
    parser.add_argument("--engines", type=Path, required=True)
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    """Opens the backend and answers until the input ends."""
    args = parse_args(arguments)
    # What a library prints must not get between the answers.
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    with user_errors():
        bundle = Bundle.read(args.folder)
        opened = open_bundle(bundle, args.backend, engines=args.engines, precision=args.precision)
        with opened as backend:
            say(answers, device=backend.device)
            serve(backend, sys.stdin.buffer, answers)


def serve(backend: Backend, questions: BinaryIO, answers: BinaryIO) -> None:
    """Answers until ``questions`` ends, perhaps in the middle of one."""
    while True:
        head = questions.read(LENGTH_BYTES)
        content = questions.read(int.from_bytes(head, "big"))
        if len(head) < LENGTH_BYTES or len(content) < int.from_bytes(head, "big"):
            return
        try:
            outputs = backend.infer(arrays_from_bytes(content))
        except UserError as error:
            say(answers, error=str(error))
            continue
        packed = bytes_from_arrays(outputs)
        say(answers, size=len(packed))
        answers.write(packed)
        answers.flush()


def say(answers: BinaryIO, **content: Any) -> None:  # Any: JSON
    """Writes one line."""
    answers.write((MARK + json.dumps(content) + "\n").encode())
    answers.flush()


def bytes_from_arrays(arrays: Mapping[str, Array]) -> bytes:
    """A .npz; names may be any text."""
    stream = io.BytesIO()
    names = json.dumps(list(arrays)).encode()
    numbered = {f"a{index}": array for index, array in enumerate(arrays.values())}
    np.savez(stream, names=np.frombuffer(names, np.uint8), **numbered)
    return stream.getvalue()


def arrays_from_bytes(content: bytes) -> dict[str, Array]:
    """The reverse of ``bytes_from_arrays``."""
    with np.load(io.BytesIO(content), allow_pickle=False) as stored:
        names = json.loads(stored["names"].tobytes().decode())
        return {name: stored[f"a{index}"] for index, name in enumerate(names)}


if __name__ == "__main__":
    main()
