"""Random numbers across a check and across a resume: as if nothing had happened in between."""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

State = dict[str, Any]  # Any: each generator has a state of its own kind


def capture() -> State:
    """The state of Python's, NumPy's and torch's generators, in types that load safely."""
    legacy: Any = np.random.get_state()  # Any: its stubs promise a dict it does not return
    name, keys, position, has_gauss, gauss = legacy
    return {
        "python": random.getstate(),
        "numpy": (name, torch.from_numpy(keys.astype(np.int64)), position, has_gauss, gauss),
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }


def restore(state: State) -> None:
    """Puts all generators back to a captured state."""
    version, numbers, gauss = state["python"]
    random.setstate((version, tuple(numbers), gauss))
    name, keys, *rest = state["numpy"]
    np.random.set_state((name, keys.cpu().numpy().astype(np.uint32), *rest))
    restore_torch(state)


def restore_torch(state: State) -> None:
    """Puts torch's generators back, and leaves those that data pipelines draw from."""
    torch.set_rng_state(state["torch"].cpu())
    if state["cuda"] and len(state["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all([item.cpu() for item in state["cuda"]])


@contextmanager
def preserved() -> Iterator[None]:
    """Whatever is drawn inside leaves the generators as they were."""
    state = capture()
    try:
        yield
    finally:
        restore(state)
