"""The layers of kd3d: imports point down, and tools depend on nothing but the library."""

import sys
from graphlib import TopologicalSorter

import pytest
from module_imports import MODULES, ROOT, TOOLS, imports_at_start, imports_of

# kd3d itself and its single-file modules, then its packages.
LAYERS = [
    {
        "",
        "registry",
        "errors",
        "files",
        "configs",
        "building",
        "checkpoints",
        "command_line",
        "bev_grid",
        "bev_boxes",
        "bev_sampling",
        "on_device",
        "signals",
    },
    {"losses", "connectors", "heads", "backends"},
    {"distill", "evaluation", "export", "profiling", "report", "datasets", "models"},
    {"recipes"},
]
# They see tensors and records only, whatever the framework around them.
WITHOUT_MM = ("losses", "connectors", "heads", "report", "distill.schedules")
MM = {"mmengine", "mmcv", "mmdet", "mmdet3d"}
# They subclass its layers. Configs name them in custom_imports; nothing of kd3d may import them.
MADE_OF_MMDET3D = {"kd3d.models.class_nms", "kd3d.models.scaled_pillars"}
FEWEST_MODULES = 50
FEWEST_TOOLS = 8


def package_of(module: str) -> str:
    """``kd3d.losses.feature`` -> ``losses``; ``kd3d`` -> the empty string."""
    return module.partition(".")[2].partition(".")[0]


def layer_of(module: str) -> int:
    found = [layer for layer, packages in enumerate(LAYERS) if package_of(module) in packages]
    assert found, f"{module}: give its package a layer in {__file__}"
    return found[0]


def imports_of_kd3d(module: str) -> set[str]:
    return {name for name in imports_of(MODULES[module]) if name.partition(".")[0] == "kd3d"}


def test_enough_modules_are_seen():
    assert len(MODULES) >= FEWEST_MODULES
    assert len(TOOLS) >= FEWEST_TOOLS


def test_imports_point_down():
    upward = {
        f"{module} imports {name} from above"
        for module in MODULES
        for name in imports_of_kd3d(module)
        if layer_of(name) > layer_of(module)
    }
    assert not upward


def test_modules_make_no_cycle():
    graph = {module: imports_of_kd3d(module) - {module} for module in MODULES}
    TopologicalSorter(graph).prepare()  # raises CycleError, which names the cycle


def test_plain_packages_never_meet_the_framework():
    prefixes = tuple(f"kd3d.{name}." for name in WITHOUT_MM)
    plain = [module for module in MODULES if f"{module}.".startswith(prefixes)]
    assert {package_of(module) for module in plain} >= {"losses", "connectors", "heads", "report"}
    for module in plain:
        met = {name for name in imports_of(MODULES[module]) if name.partition(".")[0] in MM}
        assert not met, f"{module} imports {met}"


def test_mmdet3d_is_never_needed_to_import_kd3d():
    """2D works without it: only functions import it."""
    needing = {
        module
        for module, path in MODULES.items()
        if "mmdet3d" in {name.partition(".")[0] for name in imports_at_start(path)}
    }
    assert needing == MADE_OF_MMDET3D


def test_nothing_imports_what_is_made_of_mmdet3d():
    assert not [module for module in MODULES if imports_of_kd3d(module) & MADE_OF_MMDET3D]


@pytest.mark.parametrize("tool", TOOLS, ids=lambda path: path.name)
def test_tool_stands_alone(tool):
    """Deleting one tool breaks no other; a folder may hold the parts of one tool."""
    assert tool.stem not in sys.stdlib_module_names, "it would shadow the standard library"
    siblings = {path.stem for path in TOOLS if path.parent == ROOT / "tools"}
    roots = {name.partition(".")[0] for name in imports_of(tool)}
    assert not roots & (siblings | {"tools", "tests"})
