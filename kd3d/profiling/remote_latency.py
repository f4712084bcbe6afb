"""Measures a device bundle on a vehicle over SSH.

The run goes on there by itself: when the connection is lost, it is found again and its result
fetched. When the user interrupts, it is stopped.
"""

import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from kd3d.backends.bundle import Bundle
from kd3d.backends.ssh import (
    Answer,
    ConnectionLostError,
    Host,
    Say,
    ask,
    converse,
    last_error,
    parse_answer,
    with_retries,
)
from kd3d.backends.vehicle_cache import SentBytes
from kd3d.backends.vehicle_run import VehicleRun, vehicle_run
from kd3d.errors import UserError
from kd3d.profiling.backend_latency import Measured, Options
from kd3d.profiling.environment import environment
from kd3d.profiling.latency import Progress

_MODULE = "kd3d.profiling.on_vehicle"
_PAUSE_S = 1.0  # between two looks at the progress: seldom, to leave the vehicle its quiet


def measure_on_host(
    folder: str | Path,
    host: Host,
    *,
    backends: Sequence[str],
    precisions: Sequence[str],
    options: Options,
    say: Say = print,
    sent: SentBytes | None = None,
    progress: Progress | None = None,
) -> list[Measured]:
    """Measures every backend at every precision, in turns, on the vehicle.

    Args:
        folder: a bundle of this machine.
        host: the vehicle.
        backends: "tensorrt", "onnxruntime".
        precisions: "fp32", "fp16", "int8", which the bundle has.
        options: what is measured, checked by ``check_options``.
        say: told of lost connections.
        sent: told (bytes sent, bytes that were missing) while copying.
        progress: told (measured runs, all).

    Returns:
        One for each backend and precision, the precisions of the first backend first.

    Raises:
        UserError: if the vehicle cannot be reached, or the run fails there.
    """
    bundle = Bundle.read(folder)
    arguments = _arguments(backends, precisions, options)
    with vehicle_run(
        bundle, host, precisions=precisions, module=_MODULE, say=say, sent=sent
    ) as run:
        request = run.request(_MODULE, arguments)
        with_retries(partial(ask, host, "start", **request), host.pauses_s, say=say)
        ended = with_retries(partial(_follow, run, progress), host.pauses_s, say=say)
    return _results(ended, host)


def _arguments(backends: Sequence[str], precisions: Sequence[str], options: Options) -> list[str]:
    """The command line of ``kd3d.profiling.on_vehicle`` after the bundle."""
    return [
        *("--backend", *backends, "--precision", *precisions),
        *("--iterations", str(options.iterations), "--energy-s", str(options.energy_s)),
        *(["--cuda-graph"] if options.cuda_graph else []),
        *(["--layers"] if options.layers else []),
        *([] if options.threads is None else ["--threads", str(options.threads)]),
        *([] if options.batch is None else ["--batch", str(options.batch)]),
        *("--out", "result.json", "--progress", "progress"),
    ]


def _follow(run: VehicleRun, progress: Progress | None) -> Answer:
    """Waits for the end of the run, and answers how it ended."""
    last: Answer = {}
    try:
        with converse(run.host, "follow", run=run.name, pause_s=_PAUSE_S) as process:
            assert process.stdout is not None, "it was made with pipes"
            for line in process.stdout:
                last = parse_answer(line) or last
                counts = str(last.get("progress", "")).split()
                if progress is not None and len(counts) == 2:
                    progress(int(counts[0]), int(counts[1]))
    except ConnectionLostError as error:
        raise ConnectionLostError(str(error), answered=bool(last)) from None
    if last.get("state", "running") == "running":
        text = f"{run.host.address} ended without an answer"
        raise ConnectionLostError(text, answered=bool(last))
    return last


def _results(ended: Answer, host: Host) -> list[Measured]:
    log = str(ended["log"])
    if ended["state"] == "gone":
        raise UserError(
            f"{host.address}: the run ended without a trace (was the vehicle started anew, or its "
            f"memory full?). Its log: {log.strip() or 'empty'}"
        )
    if ended["code"] != "0":
        said = last_error(log) or "failed"
        raise UserError(f"{host.address}: {said} (exit code {ended['code']} there)")
    found: list[dict[str, Any]] = json.loads(ended["result"])["results"]  # Any: JSON
    measured = [Measured(**one) for one in found]
    for one in measured:  # the vehicle has a copy of our files, not our repository
        one.environment["commit"] = environment()["commit"]
    return measured
