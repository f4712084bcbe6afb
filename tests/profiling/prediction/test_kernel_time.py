import dataclasses

import numpy as np
import pytest

from kd3d.profiling.devices import load_device
from kd3d.profiling.prediction.kernel_time import Parameters, WorkTable, kernel_times, run_us
from kd3d.profiling.prediction.kernel_work import LayerWork

ORIN = load_device("orin-agx-64gb")
# All overheads away: what is left is arithmetic and data at the hardware's peak.
IDEAL = Parameters(
    tensor_int8=1.0,
    tensor_fp16=1.0,
    tensor_fp32=1.0,
    blackwell=1.0,
    l2_bytes_clock=1e9,
    memory=1.0,
    cache=1e-9,
    strided=1.0,
    thin_bytes=0.0,
    tile_clocks=0.0,
    kernel_clocks=0.0,
    gap_us=0.0,
    graph_start=1.0,
    enqueue_us=0.0,
    apart=1.0,
    view=1.0,
    depthwise=1.0,
    pointwise=0.0,
    python_ms=0.0,
    mlperf_ms=0.0,
)


def _us(layer, device=ORIN, parameters=IDEAL, **options):
    return kernel_times(WorkTable.from_layers([layer]), device, parameters, **options)


def _product(m, n, k, math="fp16", **more):
    return LayerWork("conv", "Conv", "product", math, m=m, n=n, k=k, **more)


def test_a_product_that_fills_all_tiles_runs_at_the_peak():
    """16 SMs x 8 waves of 128x128 tiles, 2 m n k operations at 2048 a clock and SM."""
    layer = _product(m=128 * 16 * 8, n=128, k=1024)
    clocks = 2 * (128 * 16 * 8) * 128 * 1024 / (2048 * 16)
    assert _us(layer).compute[0] == pytest.approx(clocks / 1300.5)


@pytest.mark.parametrize(("math", "rate"), [("int8", 4096), ("fp16", 2048), ("fp32", 1024)])
def test_types_run_at_their_rates(math, rate):
    layer = _product(m=128 * 16, n=128, k=1024, math=math)
    assert _us(layer).compute[0] == pytest.approx(2 * 128 * 128 * 1024 / rate / 1300.5)


def test_one_tile_too_many_costs_a_wave():
    """17 tiles of 32x32, the smallest, keep 16 SMs busy for two waves; 16 for one."""
    small = [_us(_product(m=32 * tiles, n=32, k=32)).compute[0] for tiles in (16, 17)]
    assert small[1] == pytest.approx(2 * small[0])


def test_thin_layers_fill_no_tile():
    """3 output channels take as long as 32: the narrowest tile has that many columns."""
    thin, full = (_us(_product(m=51200, n=n, k=64)).compute[0] for n in (3, 32))
    assert thin == pytest.approx(full)


def test_a_streaming_kernel_runs_at_the_bus():
    """1 GB read and 1 GB written at 256/8 x 2 x 3199 MHz = 204.7 GB/s."""
    layer = LayerWork("copy", "Pad", "copy", "fp16", read_bytes=1e9, write_bytes=1e9)
    assert _us(layer).gpu[0] == pytest.approx(2e9 / 204.736e9 * 1e6)


def test_a_softmax_across_the_rows_moves_its_data_several_times():
    layer = LayerWork(
        "p", "Softmax", "pointwise", "fp16", read_bytes=1e9, write_bytes=1e9, strided=True
    )
    slow = _us(layer, parameters=dataclasses.replace(IDEAL, strided=5.0))
    assert slow.memory[0] == pytest.approx(5 * _us(layer).memory[0])


def test_what_the_cache_holds_does_not_come_from_memory():
    layer = LayerWork("copy", "Pad", "copy", "fp16", read_bytes=1e6, write_bytes=1e6)
    cached = _us(layer, parameters=dataclasses.replace(IDEAL, cache=0.5))
    assert cached.memory[0] == pytest.approx(_us(layer).memory[0] / 2)  # 2 MB of room, 2 MB moved


def test_depthwise_runs_in_the_cuda_cores():
    layer = LayerWork("dw", "Conv", "depthwise", "fp32", m=1e6, n=1, k=9, groups=32)
    assert _us(layer).compute[0] == pytest.approx(2 * 1e6 * 9 * 32 / (256 * 16) / 1300.5)


def test_groups_of_one_channel_take_the_faster_way():
    """16 outputs of each channel fill a tile with two groups: 2048 a clock, not 512."""
    size = {"m": 128 * 16 * 8, "n": 16, "k": 144, "groups": 64}
    layer = LayerWork("dw", "Conv", "depthwise", "fp16", **size)
    assert _us(layer).compute[0] == pytest.approx(_us(_product(**size)).compute[0])
    slow = _us(layer, parameters=dataclasses.replace(IDEAL, tensor_fp16=1e-3))
    assert slow.compute[0] == pytest.approx(layer.operations / (512 * 16) / 1300.5)


def test_grouped_convolutions_pay_for_the_zeros_between():
    """Groups of 8 channels are packed four to a tile: four times the work of the operations."""
    grouped = _product(m=51200, n=8, k=72, groups=32)
    dense = _product(m=51200, n=32, k=288, groups=8)
    assert _us(grouped).compute[0] == pytest.approx(_us(dense).compute[0])


def test_a_fused_activation_costs_nothing_and_one_apart_a_kernel():
    layer = LayerWork(
        "act", "Sigmoid+Mul", "pointwise", "fp16", read_bytes=1e8, write_bytes=1e8, epilogue=True
    )
    apart = _us(layer).gpu[0]
    fused = _us(layer, parameters=dataclasses.replace(IDEAL, apart=0.0)).gpu[0]
    assert (apart, fused) == (pytest.approx(2e8 / 204.736e9 * 1e6), 0)


def test_the_cpu_sets_the_pace_of_short_kernels():
    """A hundred empty kernels, 5 us each to enqueue at 2 GHz; the graph launches them at once."""
    slow = dataclasses.replace(IDEAL, enqueue_us=5.0)
    work = WorkTable.from_layers([LayerWork("a", "Relu", "pointwise", "fp16")] * 100)
    assert run_us(kernel_times(work, ORIN, slow)) == pytest.approx(500 * 2000 / 2201.6)
    assert run_us(kernel_times(work, ORIN, slow, cuda_graph=True)) == 0


def test_each_copy_of_a_concatenation_is_a_launch():
    """10 us of CPU a launch at 2 GHz; one that copies nothing takes no time at all."""
    slow = dataclasses.replace(IDEAL, enqueue_us=10.0, gap_us=3.0)
    for copies in (0, 3):
        times = _us(LayerWork("c", "Concat", "concat", "fp16", launches=copies), parameters=slow)
        assert times.enqueue[0] == pytest.approx(copies * 10 * 2000 / 2201.6)
        assert times.gpu[0] == pytest.approx(copies * 3.0)


def _realistic():
    layers = [
        _product(25600, 64, 576, read_bytes=3.3e6, write_bytes=3.3e6, weight_bytes=7e4),
        _product(400, 512, 4608, read_bytes=4e5, write_bytes=4e5, weight_bytes=4.7e6),
        LayerWork("p", "Relu", "pointwise", "fp16", read_bytes=3e6, write_bytes=3e6, elements=1e6),
    ]
    parameters = dataclasses.replace(
        IDEAL, l2_bytes_clock=48.0, cache=0.4, tile_clocks=1000.0, kernel_clocks=4000.0, gap_us=1.0
    )
    return layers, parameters


def _run(layers, device, parameters):
    return run_us(kernel_times(WorkTable.from_layers(layers), device, parameters))


@pytest.mark.parametrize("key", ["sms", "gpu_mhz", "emc_mhz"])
def test_more_hardware_is_never_slower(key):
    layers, parameters = _realistic()
    times = [
        _run(
            layers,
            # no board has twice the SMs
            dataclasses.replace(ORIN, **{key: type(getattr(ORIN, key))(getattr(ORIN, key) * part)}),
            parameters,
        )
        for part in (0.25, 0.5, 1.0, 2.0)
    ]
    assert (np.diff(times) < 0).all()


@pytest.mark.parametrize("ratio", [1.5, 2, 8])
def test_more_work_is_never_faster(ratio):
    layers, parameters = _realistic()
    once = _run(layers, ORIN, parameters)
    more = _run([layer.scaled(ratio) for layer in layers], ORIN, parameters)
    assert once < more <= ratio * once * 1.01
