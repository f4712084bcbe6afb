from kd3d.backends.vehicle_files import vehicle_files


def test_a_vehicle_gets_what_its_module_imports_and_no_more():
    found = vehicle_files("kd3d.profiling.on_vehicle")
    assert {
        *("kd3d/__init__.py", "kd3d/profiling/__init__.py", "kd3d/profiling/on_vehicle.py"),
        *("kd3d/profiling/latency.py", "kd3d/profiling/board.py", "kd3d/backends/bundle.py"),
        *("kd3d/backends/ort.py", "kd3d/backends/trt.py", "kd3d/errors.py"),  # by functions
    } <= set(found)
    assert all(str(file).endswith(path) for path, file in found.items())
    heavy = ("distill", "losses", "heads", "report", "recipes", "pytorch", "deployable")
    assert not [path for path in found if any(word in path for word in heavy)]


def test_other_packages_stay_out():
    files = {"kd3d/__init__.py", "kd3d/errors.py", "kd3d/files.py"}
    assert set(vehicle_files("kd3d.files")) == files
    assert vehicle_files("numpy", "kd3d.no_such_module") == {}
