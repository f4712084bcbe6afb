import json
from pathlib import Path

import pytest
from fake_tensorrt import SURFACES, VERSIONS
from module_imports import ROOT
from trt_compare import missing_names, unknown_everywhere, used_part
from trt_used_names import sources_with_tensorrt, used_names

SURFACE = {version: json.loads((SURFACES / f"{version}.json").read_text()) for version in VERSIONS}


def uses_of(source, tmp_path: Path):
    path = tmp_path / "module.py"
    path.write_text(f"import tensorrt\n{source}")
    assert sources_with_tensorrt(tmp_path) == [path]
    return used_names([path], SURFACE["8.5.2.2"])


@pytest.fixture(scope="module")
def ours():
    return used_names(sources_with_tensorrt(ROOT / "kd3d"), SURFACE["8.5.2.2"])


def test_all_of_ours_is_understood(ours):
    uses, problems = ours
    assert problems == []
    assert len({(use.owner, use.name) for use in uses}) >= 80
    assert {use.owner for use in uses} >= {
        "Builder", "IBuilderConfig", "OnnxParser", "Runtime", "ICudaEngine", "IExecutionContext",
        "EngineInspector", "IProfiler", "ILogger", "ITimingCache", "IOptimizationProfile",
    }  # fmt: skip


@pytest.mark.parametrize("version", VERSIONS)
def test_all_of_ours_is_in_the_real_bindings(ours, version):
    """If this fails, run tools/tensorrt_api/check_tensorrt_api.py: the data may be older."""
    assert missing_names(ours[0], SURFACE[version]) == []


def test_nothing_of_ours_is_in_no_version(ours):
    assert unknown_everywhere(ours[0], SURFACE.values()) == []


@pytest.mark.parametrize(
    ("source", "versions", "words"),
    [
        ("def f(c: trt.IExecutionContext): c.execute_async_v2([], 0)", VERSIONS[2:],
         "no such member"),
        ("def f(trt): return trt.BuilderFlag.FP16", VERSIONS[4:], "no such member"),
        ("def f(trt): return trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED", VERSIONS[:2],
         "no such member"),
        ("def f(trt): return trt.Biulder(1)", VERSIONS, "no such class or function"),
        ("def f(trt): trt.init_libnvinfer_plugins()", VERSIONS, "called with 0 arguments"),
        ("def f(trt, log):\n n = trt.Builder(log).create_network(1, 2)", VERSIONS, "called with 2"),
        ("def f(p: trt.IOptimizationProfile): p.set_shape('x', [1], most=[1])", VERSIONS,
         "called with 2 arguments and ['most']"),
        ("def f(t: trt.ILayer): t.num_inputs = 1", VERSIONS, "cannot be set"),
        ("class P(trt.IProfiler):\n def report(self, name): ...", VERSIONS, "no such member"),
    ],
)  # fmt: skip
def test_what_is_missing_is_named(source, versions, words, tmp_path):
    uses, _ = uses_of(source, tmp_path)
    found = {version: missing_names(uses, SURFACE[version]) for version in VERSIONS}
    assert {version for version, texts in found.items() if texts} == set(versions)
    assert all(words in texts[0] for texts in found.values() if texts)


def test_what_is_asked_for_first_may_be_missing(tmp_path):
    source = """
def f(error: trt.ParserError):
    return error.node_name() if hasattr(error, "node_name") else error.node()

def g(error: trt.ParserError):
    return hasattr(error, "node_nmae")
"""
    uses, _ = uses_of(source, tmp_path)
    assert missing_names(uses, SURFACE["8.5.2.2"]) == []
    (misspelt,) = unknown_everywhere(uses, SURFACE.values())
    assert "ParserError.node_nmae: in no version" in misspelt


def test_modules_of_some_versions_are_compared_with_those(tmp_path):
    uses, _ = uses_of("TENSORRT_VERSIONS = (8,)\ndef f(trt): trt.BuilderFlag.FP16", tmp_path)
    assert missing_names(uses, SURFACE["11.4.0.106"]) == []


def test_types_follow_calls_lists_and_attributes(tmp_path):
    source = """
class A:
    def __init__(self, runtime: trt.Runtime):
        self.engine: trt.ICudaEngine = runtime.deserialize_cuda_engine(b"")

    def run(self, network: trt.INetworkDefinition):
        layers = [network.get_layer(i) for i in range(network.num_layers)]
        for layer in layers:
            layer.get_output(0).dtype.name
        return self.engine.create_engine_inspector().get_engine_information(1)
"""
    uses, problems = uses_of(source, tmp_path)
    assert problems == []
    assert {(use.owner, use.name) for use in uses} >= {
        ("ILayer", "get_output"), ("ITensor", "dtype"), ("DataType", "name"),
        ("ICudaEngine", "create_engine_inspector"), ("EngineInspector", "get_engine_information"),
    }  # fmt: skip


def test_unknown_types_are_a_problem(tmp_path):
    _, problems = uses_of("def f(engine): return engine.num_io_tensors", tmp_path)
    assert "the type of engine is unknown; annotate it" in problems[0]


def test_unused_members_keep_their_names(ours):
    part = used_part(ours[0], SURFACE["8.5.2.2"])["classes"]["IExecutionContext"]["members"]
    assert part["execute_async_v3"]["signatures"]
    assert part["execute_async_v2"] == {}
