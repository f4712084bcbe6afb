"""ONNX files: made, read, checked against TensorRT's operators, typed as float16."""
