import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from kd3d.backends.external_data import external_files


def write(folder, names, *, as_attribute=False):
    """A file of some weights, each in a file of its own."""
    tensors = []
    for index, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        tensor = numpy_helper.from_array(np.full(4, index, np.float32), f"w{index}")
        (folder / name).write_bytes(tensor.raw_data)
        onnx.external_data_helper.set_external_data(tensor, name, offset=0, length=16)
        tensor.ClearField("raw_data")
        tensors.append(tensor)
    nodes = [helper.make_node("Add", ["x", "w0"], ["y"])]
    if as_attribute:
        nodes.insert(0, helper.make_node("Constant", [], ["w0"], value=tensors.pop(0)))
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, [4])
    result = helper.make_tensor_value_info("y", TensorProto.FLOAT, [4])
    graph = helper.make_graph(nodes, "g", [value], [result], tensors)
    path = folder / "model.onnx"
    path.write_bytes(helper.make_model(graph).SerializeToString())
    return path


@pytest.mark.parametrize("as_attribute", [False, True])
def test_every_file_is_found(tmp_path, as_attribute):
    long = "deep/" + "n" * 140 + ".data"  # its length takes two bytes
    path = write(tmp_path, ["b.bin", "a.bin", long, "b.bin"], as_attribute=as_attribute)
    assert external_files(path) == ["a.bin", "b.bin", long]
    onnx.load(path)  # onnx finds them too


def test_no_external_data_and_absent_files(tmp_path):
    path = write(tmp_path, ["a.bin"])
    (tmp_path / "a.bin").unlink()
    assert external_files(path) == []
    path.write_bytes(b"\x0a\x08location\x12\x03a\x00b and \x0a\x08location\x12\xff\xff")
    assert external_files(path) == []
