"""One line of progress made from a compiler's long output. Standard library only."""

import re
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TextIO

NINJA_STEP = re.compile(r"\s*\[(\d+)/(\d+)\] ")
LINE_EVERY_S = 30.0


def follow(
    lines: Iterable[str],
    out: TextIO,
    *,
    in_place: bool,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[str]:
    """Passes ``lines`` on and writes the count of compiled files to ``out``.

    Args:
        lines: ninja's output, in which ``[12/77] c++ ...`` says that 12 of 77 steps are done.
        out: where the progress is shown.
        in_place: rewrite one line at each step (a terminal), or add a line at the first and last
            step and every 30 s between (a log).
        clock: seconds from any start.
    """
    start = clock()
    shown_at = float("-inf")
    for line in lines:
        yield line
        step = NINJA_STEP.match(line)
        if step is None:
            continue
        done, total = int(step[1]), int(step[2])
        now = clock()
        if not in_place and done < total and now - shown_at < LINE_EVERY_S:
            continue
        shown_at = now
        minutes, seconds = divmod(int(now - start), 60)
        end = "\r" if in_place and done < total else "\n"
        out.write(f"mmcv: {done:3d} of {total} files compiled, {minutes} min {seconds:02d} s{end}")
        out.flush()
