"""Memory of a training step in bytes of tensors, by the same rule on CPU and GPU."""

import gc
import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile


def peak_step_bytes(step: Callable[[], object], device: torch.device) -> int:
    """How far a step raises what torch has allocated on ``device``, above what was there before.

    On a CPU the profiler's record of torch's allocator is replayed, so the figure does not depend
    on what else the process holds, nor on load. Buffers that kernels allocate by themselves are
    not in it.

    Args:
        step: run once; warm, so that caches of its first run are there already.
        device: where it allocates.
    """
    gc.collect()  # what earlier steps left in cycles would be freed within this one
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        step()
        torch.cuda.synchronize(device)
        return torch.cuda.max_memory_allocated(device) - before
    with (
        _native_log_dropped(),
        profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler,
    ):
        step()
    with tempfile.TemporaryDirectory() as folder:
        trace = Path(folder) / "trace.json"
        profiler.export_chrome_trace(str(trace))
        events = json.loads(trace.read_text(encoding="utf-8"))["traceEvents"]
    changes = [event for event in events if event.get("name") == "[memory]"]
    changes.sort(key=lambda event: event["args"]["Ev Idx"])
    total = peak = 0
    for change in changes:
        total += change["args"]["Bytes"]
        peak = max(peak, total)
    return peak


def tensor_bytes(tensors: Iterable[Tensor]) -> int:
    """Bytes of the tensors; storage that several share counts once."""
    storages = {tensor.untyped_storage().data_ptr(): tensor for tensor in tensors}
    return sum(tensor.untyped_storage().nbytes() for tensor in storages.values())


def resident_bytes(models: Iterable[nn.Module], optimizer: torch.optim.Optimizer) -> int:
    """What lies in memory between two steps: weights, buffers and the optimizer's state."""
    tensors = [tensor for model in models for tensor in [*model.parameters(), *model.buffers()]]
    tensors += [parameter for group in optimizer.param_groups for parameter in group["params"]]
    state = [value for entry in optimizer.state.values() for value in entry.values()]
    return tensor_bytes([*tensors, *(value for value in state if isinstance(value, Tensor))])


@contextmanager
def _native_log_dropped() -> Iterator[None]:
    """Torch's profiler announces itself on stderr from C++, at every log level."""
    sys.stderr.flush()
    kept = os.dup(2)
    with Path(os.devnull).open("w") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
