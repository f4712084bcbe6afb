"""A fingerprint of the latency predictor: what it knows, and how it reckons."""

import hashlib
import json
from dataclasses import asdict
from pathlib import Path

from kd3d.files import sha256_of
from kd3d.profiling.roofline import fitted

_FOLDER = Path(__file__).parents[1]
_PREDICTION = (
    *("control_flow", "equal_forms", "exported_sizes", "fused_layer", "fusion", "input_sizes"),
    *("kernel_time", "kernel_work", "layer_work", "linked_kernels", "norm_fusion", "onnx_graph"),
    *("parallel_fusion", "product_size", "quantizers", "reformats", "region_fusion"),
    *("shape_folding", "unknown_operators"),
)
# All of kd3d that a prediction passes through, the boards' files aside.
MODULES = ("devices", "roofline", *(f"prediction/{name}" for name in _PREDICTION))


def predictor_hash() -> str:
    """Changes whenever two predictors may differ, 16 hexadecimal digits.

    It stands for the fitted numbers, and for the source text of the modules that use them: equal
    numbers in another formula are another predictor. The text and not, say, predictions of some
    graphs: a probe misses what it does not exercise, while a changed comment costs no more than a
    search that starts anew. Not the file of the parameters: it also holds errors and conditions,
    which predict nothing. A board is a value (:class:`kd3d.profiling.devices.Device`): hash it
    beside this.
    """
    parameters, interval = fitted()
    given = {
        "parameters": asdict(parameters),
        "interval": interval,
        "code": {name: sha256_of(_FOLDER / f"{name}.py", 64) for name in MODULES},
    }
    return hashlib.sha256(json.dumps(given, sort_keys=True).encode()).hexdigest()[:16]
