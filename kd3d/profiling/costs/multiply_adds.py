"""What one forward of a network costs in multiply-adds, sparse convolutions by their real work."""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from torch import Tensor, nn

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)


def multiply_adds(model: nn.Module, run: Callable[[], object]) -> Counter[str]:
    """Counts the multiply-adds of convolutions and linear layers, by the model's children.

    A sparse convolution (spconv, on a CPU) counts the pairs of an input and an output voxel that
    it joins, so its figure depends on the cloud. Normalisation, activations, attention products
    and the making of voxels are left out.

    Args:
        model: a network in eval mode.
        run: calls the network once; what its modules do meanwhile is counted.

    Returns:
        Child's name to multiply-adds; ``total()`` is the sum. Twice as many are FLOPs.
    """
    counts: Counter[str] = Counter()
    with ExitStack() as stack:
        for name, module in model.named_modules():
            if _is_sparse(module):
                stack.enter_context(_indexed(module, name))
            if _is_sparse(module) or isinstance(module, (*_CONVOLUTIONS, *_TRANSPOSED, nn.Linear)):
                child = name.partition(".")[0]

                def count(module: nn.Module, given: Any, out: Any, child: str = child) -> None:
                    counts[child] += _work(module, given[0], out)

                stack.callback(module.register_forward_hook(count).remove)
        run()
    return counts


def _work(module: Any, given: Any, out: Any) -> int:  # Any: spconv is untyped
    if _is_sparse(module):
        return _pairs(module, out) * int(module.in_channels) * int(module.out_channels)
    weight: Tensor = module.weight
    # A weight's first axis is what a transposed convolution reads, and what the others write.
    cells = given if isinstance(module, _TRANSPOSED) else out
    return int(cells.numel()) * weight[0].numel()


def _pairs(module: Any, out: Any) -> int:  # Any: spconv is untyped
    """Input and output voxels that a sparse convolution joins."""
    voxels = int(out.features.shape[0])
    if module.conv1x1:
        return voxels
    pairs = int(out.indice_dict[module.indice_key].indice_pair_num.sum())
    # a submanifold convolution keeps neighbours in one direction, and no voxel as its own
    return voxels + 2 * pairs if module.subm else pairs


def _is_sparse(module: nn.Module) -> bool:
    return any(kind.__name__ == "SparseConvolution" for kind in type(module).__mro__)


@contextmanager
def _indexed(module: Any, name: str) -> Iterator[None]:  # Any: spconv is untyped
    """Gives a sparse convolution that keeps no pairs a key of its own to keep them under."""
    before = module.indice_key
    if before is None:
        module.indice_key = f"multiply_adds of {name}"
    try:
        yield
    finally:
        module.indice_key = before
